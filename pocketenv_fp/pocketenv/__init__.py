r"""The account: functions that take ids. This is the namespace ``pocketenv-io.pocketenv`` of the Clojure SDK.

Each gives a ``Result``: Success with what its docstring says, or Failure with an error of `pocketenv_fp.errors`.
Besides the failures that a docstring names, any call may give NotLoggedIn, Unauthorized, RateLimited, ServerError,
TransportError and DecodeError. All take ``token=`` and ``config=``, which win over every other source.

>>> from pocketenv_fp import pocketenv, sandbox
>>> sandbox.exec(sandbox.start(pocketenv.create_sandbox("my-box")), "echo", ["hello"])
<Success: ExecResult(stdout='hello\n', stderr='', exit_code=0)>
"""

from pocketenv_fp.pocketenv.actors import get_profile, list_sandboxes_by_actor, me
from pocketenv_fp.pocketenv.creation import create, create_sandbox
from pocketenv_fp.pocketenv.keys import get_ssh_keys, get_tailscale_auth_key, put_ssh_keys, put_tailscale_auth_key
from pocketenv_fp.pocketenv.sandboxes import get_sandbox, list_sandboxes
from pocketenv_fp.pocketenv.secrets import add_secret, delete_secret, list_secrets

__all__ = [
    "add_secret",
    "create",
    "create_sandbox",
    "delete_secret",
    "get_profile",
    "get_sandbox",
    "get_ssh_keys",
    "get_tailscale_auth_key",
    "list_sandboxes",
    "list_sandboxes_by_actor",
    "list_secrets",
    "me",
    "put_ssh_keys",
    "put_tailscale_auth_key",
]
