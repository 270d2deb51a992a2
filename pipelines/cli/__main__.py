"""`python -m pipelines.cli`, for launchers that start modules: `accelerate launch --module pipelines.cli sft …`."""

from pipelines.cli import main

if __name__ == "__main__":
    main()
