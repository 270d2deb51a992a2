"""Folders to a model hub: what is written there is what was exported, and the token never leaves the environment."""

from __future__ import annotations

from pathlib import Path

from harness.doors.answers import server_sentence
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
    from huggingface_hub.errors import HFValidationError, XetError

    if repo.count("/") != 1:
        raise InputError(f"`REPO` must be owner/name on the hub, got `{repo}`")
    if (token := get_token()) is None:
        raise InputError("`HF_TOKEN` must hold a token that may write to the hub, got none; set it in the environment")
    if not token.isascii() or not token.isprintable() or " " in token:
        raise InputError("`HF_TOKEN` must be printable ASCII without spaces, it holds other characters; copy it anew")
    api = HfApi(endpoint=endpoint, token=token)
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo, folder_path=folder, commit_message=message).commit_url)
    except HFValidationError as err:
        raise InputError(f"`REPO` must be owner/name on the hub, got `{repo}`: {err}") from err
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError, RuntimeError, XetError) as err:
        raise UnavailableError(_refused(repo, err, token)) from err


def _refused(repo: str, err: Exception, token: str) -> str:
    """Why nothing was pushed, as a sentence without the token; the client wraps what broke an upload of weights."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    broke = err.__cause__ if isinstance(err, RuntimeError) and isinstance(err.__cause__, Exception) else err
    if isinstance(broke, HfHubHTTPError):
        status = broke.response.status_code if broke.response is not None else "no status"
        why = server_sentence(str(broke.server_message or broke), secrets=[token])
        return f"`{repo}` must be a repository that the token may write to, the hub says {status}: {why.rstrip('.')}"
    if isinstance(broke, httpx.HTTPError | httpx.InvalidURL | OSError):
        return (
            f"`{repo}` must be pushed to a hub that answers, it does not ({type(broke).__name__}); "
            "check the connection, HF_ENDPOINT and HF_HUB_OFFLINE"
        )
    return (
        f"`{repo}` must be pushed to a hub that takes it, it does not: "
        f"{server_sentence(str(broke), secrets=[token]).rstrip('.')}; check HF_ENDPOINT"
    )
