"""One door for MLflow and SQL: opened here, and what goes wrong there is said in one sentence here.

opening     makes a store under a lock, refuses what is no store of ours, within seconds; its client's errors are
            sentences, and the addresses inside it follow a home that was moved
sentences   what SQLAlchemy, MLflow and the system say, as one sentence with advice
intact      whether a finished stage is still the bytes it was
"""
