"""Uploads to storage and reads from it, most of them with a flaw."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.conformance.flaws import LOGINS, ODD_TYPES, VERBS, Flawed, with_flaws

_LINE = b"--line\r\n"
_PART = b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
_UPLOADS = (
    None,
    b"",
    b"text",
    b"--line--\r\n",
    _LINE,
    _LINE + _PART + b"cut",
    _LINE + _PART + b"whole\r\n--line--\r\n",
    _LINE + _PART.replace(b"file", b"another") + b"whole\r\n--line--\r\n",
    _LINE + b"Content-Disposition\r\n\r\nno colon\r\n--line--\r\n",
    _LINE + b"X: " + b"x" * 100_000 + b"\r\n\r\n--line--\r\n",
    _LINE * 1000,
    (_LINE + _PART + b"\r\n") * 300 + b"--line--\r\n",
    _LINE + _PART + b"x" * 300_000 + b"\r\n--line--\r\n",
    b"\0" * 1000,
)
_FORMS = (
    "multipart/form-data; boundary=line",
    'multipart/form-data; boundary="line"; boundary=other',
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=" + "x" * 300,
    "multipart/form-data",
    "multipart/mixed; boundary=line",
    *ODD_TYPES,
)
_UUIDS = ("", "uuid=a", "uuid=", "uuid=..", "uuid=%2e%2e%2fup", "uuid=a&uuid=b", "uuid=%00", "uuid=" + "x" * 65, "%zz")
_PLACES = (
    "/cp",
    "/cp/",
    "/cp/a",
    "/cp/..",
    "/cp/%2e%2e%2fstate.sqlite3",
    "/cp/%00",
    "/cp/%ff",
    "/cp/a/b",
    "/cp/" + "x" * 300,
)


def requests() -> st.SearchStrategy[Flawed]:
    """Return uploads and reads, few of them valid."""
    upload = st.builds(
        Flawed,
        st.just("POST"),
        st.just("/cp"),
        st.sampled_from(_UUIDS),
        st.sampled_from(_UPLOADS),
        st.one_of(st.just(_FORMS[0]), st.sampled_from(_FORMS)),
        st.sampled_from(((), (("transfer-encoding", "chunked"),))),
        st.just("ours"),
    )
    read = with_flaws(upload, verb=st.just("GET"), name=st.sampled_from(_PLACES), body=st.none(), kind=st.none())
    return st.one_of(
        upload,
        upload,
        read,
        with_flaws(upload, login=st.sampled_from(LOGINS)),
        with_flaws(read, login=st.sampled_from(LOGINS)),
        with_flaws(upload, verb=st.sampled_from(VERBS), name=st.sampled_from(_PLACES)),
    )
