r"""What leaves for a terminal, a log, the journal or an answer passes here: escaped, behind a prefix, without secrets.

Three kinds of text leave: a message, a table of lines, a JSON document. Each comes out as `Clean`, the only type that a
surface prints, so that no new message can forget to pass. Text from outside (a server's, a file's name, a variable's) may
hold a line break, or what a terminal or a CI system obeys. What a terminal obeys is shown as `\x1b`. A line that goes on
begins with `  | `: CI systems trim blanks before they look for a command such as `::error`, so an indent is not enough.

Pure, and without the lexer, which the status function does not load. The patterns of secrets are compiled when they are
first needed.
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import NewType

Clean = NewType("Clean", str)
# Signs, one of which is there in lower case, the pattern, and what is shown in its place.
_Credential = tuple[tuple[str, ...], str, str]

PREFIX = "  | "
# What stands in the place of a secret.
HIDDEN = "…"

# C0 but line feed and tab, DEL, C1; what is invisible, or turns the direction of writing; line and paragraph separators;
# surrogates, which stand for bytes that are no UTF-8; tags.
_UNSEEN = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_CONTROL = re.compile(f"[{_UNSEEN}]")
_CONTROL_AND_BREAKS = re.compile(f"[{_UNSEEN}\t\n]")
# GitHub's `##[command]`, Azure's `##vso[…]` and TeamCity's `##teamcity[…]` are obeyed anywhere in a line.
_COMMAND_IN_LINE = re.compile(r"##(?=\w*\[)")
# What a message may begin with: no CI system's command, and none of the signs that mark a result.
_BEGINNING = re.compile(r"""[^\W_]|[_./"'`(<…]""")
_GUTTER = re.compile(r" {2,12}(?:[0-9]+ )?\|(?: |$)")
# So much of a statement is read for what its strings may be, in characters.
_READ = 1 << 20
# The colours of `cli.terminal`.
_PAINT = re.compile(r"(\x1b\[(?:0|1|2|31|32|33)m)")


def message(text: str) -> Clean:
    """A message for people: its first line, and those that go on behind the prefix."""
    first, *others = escaped(without_credentials(text)).rstrip("\n").split("\n")
    return Clean(
        "\n".join(
            [first if _is_harmless(first) else _behind_prefix(first), *map(_behind_prefix, others)]
        )
    )


def table(lines: Iterable[str], *, colour: bool = False) -> Clean:
    """Lines that the runner has composed, each of which stays one line; with `colour`, the colours in them stay."""
    lines = tuple(lines)
    credentials = _credentials_of("\n".join(lines))
    shown = (_hidden(credentials, line) for line in lines)
    return Clean("\n".join(_painted(line) if colour else one_line(line) for line in shown))


def document(value: object, *, indent: int | None = None) -> Clean:
    r"""A JSON document. What a terminal obeys is written as `\u202e`, which a parser reads as what it was."""
    encoded = _CONTROL.sub(_as_json, json.dumps(value, indent=indent, ensure_ascii=False))
    return Clean(_COMMAND_IN_LINE.sub(r"#\\u0023", encoded))


def blocks(*parts: Clean, between: str = "\n") -> Clean:
    """Several of them as one."""
    return Clean(between.join(parts))


def signed(sign: str, text: str) -> Clean:
    """A message behind a sign of the runner's, which may be coloured."""
    return Clean(f"{sign} {message(text)}")


def one_line(text: str) -> str:
    r"""A text that is a part of a line: a line break in it is shown as `\n`."""
    return _COMMAND_IN_LINE.sub(r"#\\x23", _CONTROL_AND_BREAKS.sub(_as_escape, text))


def escaped(text: str) -> str:
    """The text with its line breaks, and with everything else that a terminal or a CI system obeys shown as an escape."""
    return _COMMAND_IN_LINE.sub(r"#\\x23", _CONTROL.sub(_as_escape, text.replace("\r\n", "\n")))


def masked(text: str) -> str:
    """A text of the server's or of a file's without secrets, and without any string if one of them may be a secret.

    It may be cut off anywhere. Mask before cutting: half a URL is no longer known for one.
    """
    return without_credentials(_without_strings(text) if _names_a_secret(text) else text)


def without_credentials(text: str) -> str:
    """The text without what is known for a secret by itself: a password in a URL, a hash of one, an access key."""
    return _hidden(_credentials(), text)


def is_secretive(text: str) -> bool:
    """Tell whether a statement, or a text that quotes one, may hold a secret among its strings."""
    return _names_a_secret(text) or without_credentials(text) != text


def _credentials_of(text: str) -> Sequence[_Credential]:
    """Those that the text may hold: a look for a word costs next to nothing."""
    lower = text.lower()
    return [each for each in _credentials() if any(sign in lower for sign in each[0])]


def _hidden(credentials: Sequence[_Credential], text: str) -> str:
    lower = text.lower() if credentials else ""
    for signs, pattern, shown in credentials:
        if any(sign in lower for sign in signs):
            text = _compiled(pattern).sub(shown, text)
    return text


def _names_a_secret(text: str) -> bool:
    lower = text[:_READ].lower()
    return any(_compiled(pattern).search(lower) for word, pattern in _secretive() if word in lower)


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    """Each by itself, when its word is there: all of them would take longer than the rest of a run with nothing to do."""
    return re.compile(pattern, re.IGNORECASE)


def _without_strings(text: str) -> str:
    """Every string as `'…'`. Where it is not certain which quotes belong together, nothing after the first is shown."""
    is_certain = text.count("'") % 2 == 0 and not any(
        sign in text for sign in ("\\'", "''", "--", "/*")
    )
    return (_STRING if is_certain else _FIRST_STRING).sub(f"'{HIDDEN}'", text)


def _is_harmless(line: str) -> bool:
    return not line or bool(_BEGINNING.match(line.lstrip(" \t")))


def _behind_prefix(line: str) -> str:
    return line if _GUTTER.match(line) else f"{PREFIX}{line.removeprefix('  ')}".rstrip(" ")


def _painted(line: str) -> str:
    parts = _PAINT.split(line)
    return "".join(part if place % 2 else one_line(part) for place, part in enumerate(parts))


def _as_escape(found: re.Match[str]) -> str:
    sign, code = found.group(), ord(found.group())
    if sign in "\n\r\t":
        return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}[sign]
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )


def _as_json(found: re.Match[str]) -> str:
    code = ord(found.group())
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


_STRING = re.compile(r"(?:\b[eEnNbBxX]|\b[uU]&)?'(?:[^']|'')*'|\$(\w*)\$[\s\S]*?(?:\$\1\$|\Z)")
_FIRST_STRING = re.compile(r"(?:\b[eEnNbBxX]|\b[uU]&)?'[\s\S]*|\$(\w*)\$[\s\S]*")
# White space and comments, as they may stand between any two words of SQL.
_GAP = r"(?:\s|/\*[\s\S]*?\*/|--[^\n]*(?:\n|\Z))"
# Names by which a value is known for a secret, and the signs that one of them may be there.
_SECRET = (
    r"(?:passw(?:or)?d|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|service_role"
    r"|encryption_?key|signing_?key|jwt|credential)"
)
_SECRET_SIGNS = (
    "passw",
    "pwd",
    "passphrase",
    "secret",
    "token",
    "key",
    "service_role",
    "jwt",
    "credential",
)
_NAME = rf"[\w.-]*{_SECRET}[\w-]*"
# The same, and names that are too short to be looked for anywhere: those of a column or of a parameter.
_COLUMN = rf"(?:\w*{_SECRET}\w*|(?:\w*_)?(?:pw|pass))"
# A value behind `password=`: as conninfo and SQL quote it, doubled inside another string, in dollars, or bare.
_QUOTED = (
    r"(?:[eEnN]|[uU]&)?''[^']+(?:''|\Z)|(?:[eEnN]|[uU]&)?'(?:[^'\\]|\\[\s\S]|'')*(?:'|\Z)|\"(?:[^\"\\]|\\[\s\S])*(?:\"|\Z)"
    r"|\$(?P<tag>\w*)\$[\s\S]*?(?:\$(?P=tag)\$|\Z)"
)
_BARE = r"(?!['\"$]|/\*|--)[^\s,;)&'\"]+"


@cache
def _credentials() -> tuple[_Credential, ...]:
    """What is known for a secret by itself."""
    ours = f"'{HIDDEN}'"
    role = rf"\b(?:create|alter){_GAP}+(?:role|user|group)\b[^;]{{0,500}}?\bpassword{_GAP}+"
    rows: tuple[tuple[tuple[str, ...], str, str], ...] = (
        # Any URL: up to the last @ before a blank or a quote, since a password may hold a raw one; or cut off before it.
        (("://",), r"(\b[a-z][a-z0-9+.-]*://[^\s:/?#'\"@]*:)[^\s'\"]+@", rf"\1{HIDDEN}@"),
        (
            ("://",),
            r"(\b[a-z][a-z0-9+.-]*://[^\s:/?#'\"@]+:)(?![0-9]+(?:[/?#\s'\").,;]|\Z))[^\s'\"@]+(?=\Z)",
            rf"\1{HIDDEN}",
        ),
        (("://",), r"(\bhttps?://)[^\s/'\"@:]+@", rf"\1{HIDDEN}@"),
        # The same without a scheme, as in `u:p@h/db`.
        (("@",), r"((?<![\w.:@-])[\w.%+-]+:)(?!//)[^\s'\"]+@(?=[\w\[…])", rf"\1{HIDDEN}@"),
        # `password = x`, `"token": "x"`, `Key (api_key)=(x)`.
        (_SECRET_SIGNS, rf"((?<![\w.-]){_NAME}[\"']?\s*(?:=>|:=|=)\s*)(?:{_QUOTED})", rf"\1{ours}"),
        (_SECRET_SIGNS, rf"((?<![\w.-]){_NAME}\s*=\s*)(?!>){_BARE}", rf"\1{HIDDEN}"),
        (_SECRET_SIGNS, rf"([\"']{_NAME}[\"']\s*:\s*)(?:{_QUOTED})", rf"\1{ours}"),
        (
            _SECRET_SIGNS,
            rf"(\((?:[^()\n]*[,\s])?{_NAME}(?:,[^()\n]*)?\)=\()[\s\S]*?\)(?=\s|\.|\Z)",
            rf"\1{HIDDEN})",
        ),
        (
            ("pass", "pwd", "key"),
            rf"(\b(?:passw(?:or)?d|passphrase|pwd|(?:x-)?api[_-]?key):\s*)(?:{_QUOTED}|(?=\S{{4}}){_BARE})",
            rf"\1{HIDDEN}",
        ),
        (
            ("secret", "token", "credential", "pw", "passw"),
            rf"(\b(?:(?:secret|token|credentials?|password)(?:\s+is)?|pw):\s*)(?:{_QUOTED}|(?=\S{{4}}){_BARE})",
            rf"\1{HIDDEN}",
        ),
        # `use password p4ssw0rd`, which is no `token varchar(20)`.
        (
            ("password", "passphrase", "secret", "token"),
            r"(\b(?:password|passphrase|secret|token)\s+(?:is\s+)?)"
            r"(?!(?:int|float)[248]\b)(?=[^\s'\"(),;]*(?:[0-9][a-z]|[a-z][0-9]|[a-z][!@#^*+~-]+[0-9]))"
            r"[^\s'\"(),;]{6,}(?![\w(])",
            rf"\1{HIDDEN}",
        ),
        # `password 'p'`, `secret 'p'`, `identified by p`.
        (("password",), rf"(\bpassword\b{_GAP}+)(?:{_QUOTED})", rf"\1{ours}"),
        (_SECRET_SIGNS, rf"((?<![\w.-]){_NAME}{_GAP}+)(?!\")(?:{_QUOTED})", rf"\1{ours}"),
        (("password",), rf"({role})(?!null\b){_BARE}", rf"\1{HIDDEN}"),
        (("identified",), rf"(\bidentified{_GAP}+by{_GAP}+)(?:{_QUOTED}|{_BARE})", rf"\1{ours}"),
        (("scram-",), r"(\bSCRAM-SHA-[0-9]+\$)[^\s'\"]+", rf"\1{HIDDEN}"),
        (("md5",), r"(\bmd5)[0-9a-f]{32}\b", rf"\1{HIDDEN}"),
        (("$2",), r"\$2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{20,}", HIDDEN),
        (("eyj",), r"\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?", HIDDEN),
        (("akia", "asia"), r"\b(?-i:AKIA|ASIA)[A-Z0-9]{12,}", HIDDEN),
        *_forms(),
        (
            ("bearer", "basic"),
            r"(\b(?:bearer|basic)\s+)(?=[^\s'\"]*[0-9])[\w.~+/=-]{6,}",
            rf"\1{HIDDEN}",
        ),
        (
            ("private key",),
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            HIDDEN,
        ),
    )
    return rows


def _forms() -> tuple[tuple[tuple[str, ...], str, str], ...]:
    """Keys and tokens that services give out, by what they begin with; and addresses that are secrets themselves."""
    return (
        (
            ("gh", "k_live_", "k_test_", "sb_secret_", "sbp_", "xox", "xapp-", "whsec_", "npm_"),
            r"\b(?:gh[pousr]_|github_pat_|[spr]k_(?:live|test)_|sb_secret_|sbp_|xox[abceoprs]-|xapp-|whsec_|npm_)[\w./+=-]{6,}",
            HIDDEN,
        ),
        (
            ("sk-", "glpat-", "dop_v1_", "shp", "hf_", "lin_api_", "pypi-", "sntry", "vercel_"),
            r"\b(?:sk-|glpat-|dop_v1_|shp(?:at|ca|pa|ss)_|hf_|lin_api_|pypi-|sntry[su]_|vercel_blob_rw_)[\w-]{8,}",
            HIDDEN,
        ),
        (("sg.",), r"\b(?-i:SG)\.[\w-]{6,}(?:\.[\w-]+)?", HIDDEN),
        (("aiza", "ya29."), r"\b(?-i:AIza|ya29\.)[\w-]{8,}", HIDDEN),
        # Whoever has a signed URL, or that of a webhook, needs no more.
        (
            ("sig", "key=", "code="),
            r"([?&;](?:sig|signature|x-(?:amz|goog)-signature|sharedaccesssignature|accountkey|sharedaccesskey|key|code)=)"
            r"[^\s&'\"]+",
            rf"\1{HIDDEN}",
        ),
        (
            ("hooks.", "webhook", "telegram"),
            r"(\b(?:hooks\.slack(?:-gov)?\.com/\w+/|hooks\.zapier\.com/hooks/|discord(?:app)?\.com/api/webhooks/"
            r"|webhook\.office\.com/|api\.telegram\.org/bot))[^\s'\"]+",
            rf"\1{HIDDEN}",
        ),
    )


@cache
def _secretive() -> tuple[tuple[str, str], ...]:
    """The statements whose strings may be secrets, in lower case: what connects elsewhere, sets a parameter, encrypts.

    Each has a word without which it is not looked for.
    """
    gap, call, string = _GAP, rf"\"?{_GAP}*\(", r"(?:(?:e|n|u&)?'|\$)"
    return (
        (
            "password",
            rf"\b(?:create|alter){gap}+(?:role|user|group|subscription|server)\b[^;]{{0,2000}}?\bpassword\b",
        ),
        ("password", rf"\bpassword{gap}*(?:{string}|[=%])"),
        ("mapping", rf"\buser{gap}+mapping\b"),
        ("subscription", rf"\b(?:create|alter){gap}+subscription\b"),
        ("server", rf"\b(?:create|alter){gap}+server\b"),
        ("foreign", rf"\b(?:create|alter){gap}+foreign{gap}+data\b"),
        ("connection", rf"\bconnection{gap}+{string}"),
        ("options", rf"\boptions{gap}*\("),
        ("program", rf"\b(?:from|to){gap}+program\b"),
        # A parameter of one's own has a dot in its name.
        (
            "set",
            rf"\bset{gap}+(?:(?:local|session){gap}+)?(?:\"?\w+\"?\.|\"?\w*{_SECRET}|primary_conninfo)",
        ),
        ("set_config", rf"\bset_config{call}(?!{gap}*'(?:(?!{_SECRET})\w)+'{gap}*,)"),
        ("secret", rf"\b\w*secret\w*{call}"),
        ("dblink", rf"\bdblink\w*{call}"),
        ("pgp_", rf"\bpgp_\w+{call}"),
        ("crypt", rf"\b(?:(?:en|de)?crypt|crypto_)\w*{call}"),
        ("hmac", rf"\bhmac{call}"),
        ("digest", rf"\bdigest{call}"),
        ("md5", rf"\bmd5{call}"),
        ("sha", rf"\bsha[0-9]+{call}"),
        ("sign", rf"\bsign{call}{gap}*(?:{string}|json|row_to)"),
        ("credentials", rf"\bcreate_aws_credentials{call}"),
        ("http_", rf"\bhttp_\w+{call}"),
        ("vault", rf"\bvault\"?{gap}*\."),
        ("pgsodium", rf"\bpgsodium\"?{gap}*\."),
        ("authorization", r"\bauthorization\b"),
        ("bearer", r"\bbearer\b"),
        ("key", r"\bapi[_-]?key\b"),
        (
            "insert",
            rf"\binsert{gap}+into\b[^;']{{0,5000}}?(?:{_SECRET}|(?<![a-z0-9])(?:pw|pass)\b)",
        ),
        ("=", rf"\b{_COLUMN}\"?{gap}*(?:=>|:=|=){gap}*{string}"),
        # A parameter or a column, its type, and its default; what a query calls so.
        ("default", rf"\b{_COLUMN}\"?{gap}[^,;']{{1,200}}?\bdefault{gap}*{string}"),
        ("=", rf"\b{_COLUMN}\"?{gap}+(?:constant{gap}+)?\w+(?:\([^()]*\))?{gap}*:?={gap}*{string}"),
        ("as", rf"'{gap}*as{gap}+\"?{_COLUMN}\b"),
        ("from", rf"'{gap}+\"?{_COLUMN}\"?{gap}+from\b"),
        # The name by which a secret is known stands in a string of the same statement, as in a table of settings.
        *((sign, rf"'[\w./:,{{}}-]*{_SECRET}[\w./:,{{}}-]*'") for sign in _SECRET_SIGNS),
        (
            "_key'",
            r"'\w*(?:stripe|openai|anthropic|sendgrid|twilio|aws|auth|master|license|smtp|webhook)\w*_key'",
        ),
    )
