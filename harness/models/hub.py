"""Folders to a model hub: what is written there is what was exported, and the token never leaves the environment."""

from __future__ import annotations

from pathlib import Path

from harness.errors import InputError, UnavailableError


def push_folder(folder: Path, repo: str, *, private: bool, message: str, endpoint: str | None = None) -> str:
    """Upload a folder as a commit of a model repository, which is made where it is not there; gives its address.

    Args:
        repo: `owner/name`.
        endpoint: another hub than that of HF_ENDPOINT.

    Raises:
        InputError: `repo` is no name, or there is no token. UnavailableError: the hub refuses, or is not there.
    """
    import httpx
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    if repo.count("/") != 1:
        raise InputError(f"`REPO` must be owner/name on the hub, got `{repo}`")
    if (token := get_token()) is None:
        raise InputError("`HF_TOKEN` must hold a token that may write to the hub, got none; set it in the environment")
    api = HfApi(endpoint=endpoint, token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message).commit_url)
    except HFValidationError as err:
        raise InputError(f"`REPO` must be owner/name on the hub, got `{repo}`: {err}") from err
    except HfHubHTTPError as err:
        status = err.response.status_code if err.response is not None else "no status"
        why = " ".join(str(err.server_message or err).split())[:200]
        raise UnavailableError(
            f"`{repo}` must be a repository that the token may write to, the hub says {status}: {why}"
        ) from err
    except (OfflineModeIsEnabled, httpx.HTTPError, OSError) as err:
        raise UnavailableError(
            f"`{repo}` must be pushed to a hub that answers, it does not ({type(err).__name__}); "
            "check the connection, HF_ENDPOINT and HF_HUB_OFFLINE"
        ) from err
