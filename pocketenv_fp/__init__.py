"""The functional Python SDK for Pocketenv, a platform of sandboxes.

Every function returns a ``Result`` of dry-python's ``returns``. Operations take a Sandbox or a Result of one, so

    create("my-box") | start | wait_until_running | exec("echo", ["hello"])

is a program. The names of this module compose: functions that return a sandbox, and operations on a sandbox. The
functions that take ids are in `pocketenv_fp.pocketenv`, with the names of the Clojure SDK.
"""

from typing import TYPE_CHECKING

from pocketenv_fp import pocketenv as pocketenv, sandbox as sandbox
from pocketenv_fp.exports import exports

if TYPE_CHECKING:
    from pocketenv_fp.account import *
    from pocketenv_fp.config import Config as Config, FromEnv as FromEnv, from_env as from_env, using as using
    from pocketenv_fp.errors import *
    from pocketenv_fp.errors.maps import from_map as from_map, to_map as to_map
    from pocketenv_fp.explaining import *
    from pocketenv_fp.models import *
    from pocketenv_fp.pocketenv import (
        claim_sandbox as claim_sandbox,
        create as create,
        create_sandbox as create_sandbox,
        generate_ssh_keys as generate_ssh_keys,
        get_profile as get_profile,
        get_sandbox as get_sandbox,
        get_terminal_token as get_terminal_token,
        iter_my_sandboxes as iter_my_sandboxes,
        iter_sandboxes as iter_sandboxes,
        iter_sandboxes_by_actor as iter_sandboxes_by_actor,
        list_sandboxes as list_sandboxes,
        list_sandboxes_by_actor as list_sandboxes_by_actor,
        me as me,
        my_sandboxes as my_sandboxes,
        sweep as sweep,
    )
    from pocketenv_fp.sandbox import *
    from pocketenv_fp.sandbox.managed import ephemeral as ephemeral, managed as managed, sandbox_of as sandbox_of
    from pocketenv_fp.steps.aio import aio as aio
    from pocketenv_fp.steps.combinators import *
    from pocketenv_fp.steps.fan_out import collect as collect, fan_out as fan_out, partition as partition
    from pocketenv_fp.steps.output import check as check, json_output as json_output, lines as lines, stdout as stdout
    from pocketenv_fp.steps.step import Step as Step, identity as identity
    from pocketenv_fp.steps.trace import Trace as Trace, trace as trace, tracing as tracing
    from pocketenv_fp.terminal import *
else:
    __all__, __getattr__, __dir__ = exports(
        __name__,
        {
            "": "pocketenv sandbox",
            "account": "login logout whoami",
            "config": "Config FromEnv from_env using",
            "errors": (
                "ApiError ArchiveError CodeFailed CodeTimeout CommandFailed CommandTimeout ContextLost DeadlineExceeded "
                "DecodeError EncryptionError InvalidInput JobNotFound JobTimeout LoginFailed LoginTimeout MalformedToken "
                "NameTaken NotLoggedIn NotRestored NotSupported PathNotFound PathTaken PocketenvError ProfileNotFound "
                "RateLimited RecordNotFound RepositoryTaken SandboxNotFound ServerError ServerTimeout SessionLost "
                "ShellBusy ShellLost TransportError Unauthorized WaitTimeout WorkerLost raise_for"
            ),
            "errors.maps": "from_map to_map",
            "explaining": "Explanation as_curl explain",
            "models": (
                "Backup CodeError CodeResult DirectoryEntry Display ExecResult File Integration Job JobOutput Page Piece "
                "Port Preferences Profile Sandbox Secret Service ServiceLogs SshKey SshKeyPair Status TailscaleAuthKey "
                "TerminalToken Variable Volume"
            ),
            "pocketenv": (
                "claim_sandbox create create_sandbox generate_ssh_keys get_profile get_sandbox get_terminal_token "
                "iter_my_sandboxes iter_sandboxes iter_sandboxes_by_actor list_sandboxes list_sandboxes_by_actor me "
                "my_sandboxes sweep"
            ),
            "sandbox": " ".join(sandbox.__all__),
            "sandbox.managed": "ephemeral managed sandbox_of",
            "steps.aio": "aio",
            "steps.combinators": "gather keep or_else recover retrying tap when within",
            "steps.fan_out": "collect fan_out partition",
            "steps.output": "check json_output lines stdout",
            "steps.step": "Step identity",
            "steps.trace": "Trace trace tracing",
            "terminal": "console",
        },
    )

__version__ = "0.1.0"
