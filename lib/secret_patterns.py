"""The patterns by which secrets are recognized.

A pattern costs time to compile and to search for. Each therefore has signs: words, in lower case,
one of which is in every text that the pattern matches. The tables are built when they are first
needed.
"""

from functools import cache
from typing import NamedTuple

# What is shown in place of a secret.
HIDDEN = "…"


class Credential(NamedTuple):
    """A secret that is recognized by itself, and what is shown in place of it."""

    signs: tuple[str, ...]
    pattern: str
    shown: str


# A statement any of whose strings may be a secret: its sign and its pattern.
SecretiveStatement = tuple[str, str]

# White space and comments, which may stand between any two words of SQL.
_GAP = r"(?:\s|/\*[\s\S]*?\*/|--[^\n]*(?:\n|\Z))"
# Words in a name that say that its value is a secret, and the signs that such a word is present.
_SECRET = (
    r"(?:passw(?:or)?d|pwd|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|service_role|encryption_?key|signing_?key|jwt|credential)"
)
_SECRET_SIGNS = (
    "passw", "pwd", "passphrase", "secret", "token", "key", "service_role", "jwt", "credential",
)  # fmt: skip
_NAME = rf"[\w.-]*{_SECRET}[\w-]*"
# A column or a parameter may also have a shorter name, which would match too much elsewhere.
_COLUMN = rf"(?:\w*{_SECRET}\w*|(?:\w*_)?(?:pw|pass))"
# The value after `password=`: quoted as in conninfo or SQL, with doubled quotes inside another
# string, or dollar-quoted; or without quotes.
_QUOTED = (
    r"(?:[eEnN]|[uU]&)?''[^']+(?:''|\Z)|(?:[eEnN]|[uU]&)?'(?:[^'\\]|\\[\s\S]|'')*(?:'|\Z)"
    r"|\"(?:[^\"\\]|\\[\s\S])*(?:\"|\Z)|\$(?P<tag>\w*)\$[\s\S]*?(?:\$(?P=tag)\$|\Z)"
)
_BARE = r"(?!['\"$]|/\*|--)[^\s,;)&'\"]+"
# What is shown where a secret stood in quotes.
_QUOTED_HIDDEN = f"'{HIDDEN}'"
# The beginning of a string, in lower case.
_STRING_BEGINS = r"(?:(?:e|n|u&)?'|\$)"


@cache
def credentials() -> tuple[Credential, ...]:
    """Return the secrets that are recognized by themselves, in the order in which to mask them."""
    return (
        *_urls(),
        *_named_values(),
        *_sql_passwords(),
        *_hashes(),
        *_service_keys(),
        *_headers(),
    )


def _urls() -> tuple[Credential, ...]:
    return (
        # The user and the password end at the last @ before a blank or a quote, because a password
        # may hold an @ that is not percent-encoded.
        Credential(("://",), r"(\b[a-z][a-z0-9+.-]*://[^\s:/?#'\"@]*:)[^\s'\"]+@", rf"\1{HIDDEN}@"),
        # A URL that is cut off inside the password.
        Credential(
            ("://",),
            r"(\b[a-z][a-z0-9+.-]*://[^\s:/?#'\"@]+:)(?![0-9]+(?:[/?#\s'\").,;]|\Z))"
            r"[^\s'\"@]+(?=\Z)",
            rf"\1{HIDDEN}",
        ),
        # A token in place of the user, as in `https://TOKEN@github.com/a/b`.
        Credential(("://",), r"(\bhttps?://)[^\s/'\"@:]+@", rf"\1{HIDDEN}@"),
        # A URL without its scheme, as in `u:p@h/db`.
        Credential(
            ("@",), r"((?<![\w.:@-])[\w.%+-]+:)(?!//)[^\s'\"]+@(?=[\w\[…])", rf"\1{HIDDEN}@"
        ),
    )


def _named_values() -> tuple[Credential, ...]:
    """`password = x`, `"token": "x"`, `Key (api_key)=(x)`, `secret: x`, `use password x1`."""
    return (
        Credential(
            _SECRET_SIGNS,
            rf"((?<![\w.-]){_NAME}[\"']?\s*(?:=>|:=|=)\s*)(?:{_QUOTED})",
            rf"\1{_QUOTED_HIDDEN}",
        ),
        Credential(_SECRET_SIGNS, rf"((?<![\w.-]){_NAME}\s*=\s*)(?!>){_BARE}", rf"\1{HIDDEN}"),
        Credential(
            _SECRET_SIGNS, rf"([\"']{_NAME}[\"']\s*:\s*)(?:{_QUOTED})", rf"\1{_QUOTED_HIDDEN}"
        ),
        Credential(
            _SECRET_SIGNS,
            rf"(\((?:[^()\n]*[,\s])?{_NAME}(?:,[^()\n]*)?\)=\()[\s\S]*?\)(?=\s|\.|\Z)",
            rf"\1{HIDDEN})",
        ),
        Credential(
            ("pass", "pwd", "key"),
            r"(\b(?:passw(?:or)?d|passphrase|pwd|(?:x-)?api[_-]?key):\s*)"
            rf"(?:{_QUOTED}|(?=\S{{4}}){_BARE})",
            rf"\1{HIDDEN}",
        ),
        Credential(
            ("secret", "token", "credential", "pw", "passw"),
            r"(\b(?:(?:secret|token|credentials?|password)(?:\s+is)?|pw):\s*)"
            rf"(?:{_QUOTED}|(?=\S{{4}}){_BARE})",
            rf"\1{HIDDEN}",
        ),
        # A letter beside a digit tells `use password p4ssw0rd` from prose; a type is not a secret,
        # as in `token varchar(20)`.
        Credential(
            ("password", "passphrase", "secret", "token"),
            r"(\b(?:password|passphrase|secret|token)\s+(?:is\s+)?)"
            r"(?!(?:int|float)[248]\b)"
            r"(?=[^\s'\"(),;]*(?:[0-9][a-z]|[a-z][0-9]|[a-z][!@#^*+~-]+[0-9]))"
            r"[^\s'\"(),;]{6,}(?![\w(])",
            rf"\1{HIDDEN}",
        ),
    )


def _sql_passwords() -> tuple[Credential, ...]:
    """`password 'p'`, `secret 'p'`, `create role a password p`, `identified by p`."""
    role = rf"\b(?:create|alter){_GAP}+(?:role|user|group)\b[^;]{{0,500}}?\bpassword{_GAP}+"
    return (
        Credential(("password",), rf"(\bpassword\b{_GAP}+)(?:{_QUOTED})", rf"\1{_QUOTED_HIDDEN}"),
        Credential(
            _SECRET_SIGNS,
            rf"((?<![\w.-]){_NAME}{_GAP}+)(?!\")(?:{_QUOTED})",
            rf"\1{_QUOTED_HIDDEN}",
        ),
        Credential(("password",), rf"({role})(?!null\b){_BARE}", rf"\1{HIDDEN}"),
        Credential(
            ("identified",),
            rf"(\bidentified{_GAP}+by{_GAP}+)(?:{_QUOTED}|{_BARE})",
            rf"\1{_QUOTED_HIDDEN}",
        ),
    )


def _hashes() -> tuple[Credential, ...]:
    """Hashes of passwords (SCRAM, MD5, bcrypt), JSON web tokens, and access keys of AWS."""
    return (
        Credential(("scram-",), r"(\bSCRAM-SHA-[0-9]+\$)[^\s'\"]+", rf"\1{HIDDEN}"),
        Credential(("md5",), r"(\bmd5)[0-9a-f]{32}\b", rf"\1{HIDDEN}"),
        Credential(("$2",), r"\$2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{20,}", HIDDEN),
        Credential(("eyj",), r"\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?", HIDDEN),
        Credential(("akia", "asia"), r"\b(?-i:AKIA|ASIA)[A-Z0-9]{12,}", HIDDEN),
    )


def _service_keys() -> tuple[Credential, ...]:
    """Keys and tokens of services, by their prefixes; and addresses that are secrets themselves."""
    return (
        Credential(
            ("gh", "k_live_", "k_test_", "sb_secret_", "sbp_", "xox", "xapp-", "whsec_", "npm_"),
            r"\b(?:gh[pousr]_|github_pat_|[spr]k_(?:live|test)_|sb_secret_|sbp_|xox[abceoprs]-"
            r"|xapp-|whsec_|npm_)[\w./+=-]{6,}",
            HIDDEN,
        ),
        Credential(
            ("sk-", "glpat-", "dop_v1_", "shp", "hf_", "lin_api_", "pypi-", "sntry", "vercel_"),
            r"\b(?:sk-|glpat-|dop_v1_|shp(?:at|ca|pa|ss)_|hf_|lin_api_|pypi-|sntry[su]_"
            r"|vercel_blob_rw_)[\w-]{8,}",
            HIDDEN,
        ),
        Credential(("sg.",), r"\b(?-i:SG)\.[\w-]{6,}(?:\.[\w-]+)?", HIDDEN),
        Credential(("aiza", "ya29."), r"\b(?-i:AIza|ya29\.)[\w-]{8,}", HIDDEN),
        # Whoever has a signed URL, or the URL of a webhook, needs nothing else to use it.
        Credential(
            ("sig", "key=", "code="),
            r"([?&;](?:sig|signature|x-(?:amz|goog)-signature|sharedaccesssignature|accountkey"
            r"|sharedaccesskey|key|code)=)[^\s&'\"]+",
            rf"\1{HIDDEN}",
        ),
        Credential(
            ("hooks.", "webhook", "telegram"),
            r"(\b(?:hooks\.slack(?:-gov)?\.com/\w+/|hooks\.zapier\.com/hooks/"
            r"|discord(?:app)?\.com/api/webhooks/|webhook\.office\.com/"
            r"|api\.telegram\.org/bot))[^\s'\"]+",
            rf"\1{HIDDEN}",
        ),
    )


def _headers() -> tuple[Credential, ...]:
    """The Authorization header, and a private key in PEM."""
    return (
        Credential(
            ("bearer", "basic"),
            r"(\b(?:bearer|basic)\s+)(?=[^\s'\"]*[0-9])[\w.~+/=-]{6,}",
            rf"\1{HIDDEN}",
        ),
        Credential(
            ("private key",),
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?"
            r"(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            HIDDEN,
        ),
    )


@cache
def secretive_statements() -> tuple[SecretiveStatement, ...]:
    """Return the statements whose strings may be secrets; the patterns are for lower case."""
    return (*_commands(), *_functions(), *_values())


def _commands() -> tuple[SecretiveStatement, ...]:
    """Commands that set a password or a parameter, or that connect to another server."""
    gap, string = _GAP, _STRING_BEGINS
    return (
        (
            "password",
            rf"\b(?:create|alter){gap}+(?:role|user|group|subscription|server)\b"
            r"[^;]{0,2000}?\bpassword\b",
        ),
        ("password", rf"\bpassword{gap}*(?:{string}|[=%])"),
        ("mapping", rf"\buser{gap}+mapping\b"),
        ("subscription", rf"\b(?:create|alter){gap}+subscription\b"),
        ("server", rf"\b(?:create|alter){gap}+server\b"),
        ("foreign", rf"\b(?:create|alter){gap}+foreign{gap}+data\b"),
        ("connection", rf"\bconnection{gap}+{string}"),
        ("options", rf"\boptions{gap}*\("),
        ("program", rf"\b(?:from|to){gap}+program\b"),
        # A customized option has a dot in its name.
        (
            "set",
            rf"\bset{gap}+(?:(?:local|session){gap}+)?"
            rf"(?:\"?\w+\"?\.|\"?\w*{_SECRET}|primary_conninfo)",
        ),
    )


def _functions() -> tuple[SecretiveStatement, ...]:
    """Functions that set a parameter, connect elsewhere, encrypt or hash."""
    gap, call = _GAP, rf"\"?{_GAP}*\("
    return (
        ("set_config", rf"\bset_config{call}(?!{gap}*'(?:(?!{_SECRET})\w)+'{gap}*,)"),
        ("secret", rf"\b\w*secret\w*{call}"),
        ("dblink", rf"\bdblink\w*{call}"),
        ("pgp_", rf"\bpgp_\w+{call}"),
        ("crypt", rf"\b(?:(?:en|de)?crypt|crypto_)\w*{call}"),
        ("hmac", rf"\bhmac{call}"),
        ("digest", rf"\bdigest{call}"),
        ("md5", rf"\bmd5{call}"),
        ("sha", rf"\bsha[0-9]+{call}"),
        ("sign", rf"\bsign{call}{gap}*(?:{_STRING_BEGINS}|json|row_to)"),
        ("credentials", rf"\bcreate_aws_credentials{call}"),
        ("http_", rf"\bhttp_\w+{call}"),
        ("vault", rf"\bvault\"?{gap}*\."),
        ("pgsodium", rf"\bpgsodium\"?{gap}*\."),
    )


def _values() -> tuple[SecretiveStatement, ...]:
    """Values of columns, parameters and settings whose names say that they are secrets."""
    gap, string = _GAP, _STRING_BEGINS
    return (
        ("authorization", r"\bauthorization\b"),
        ("bearer", r"\bbearer\b"),
        ("key", r"\bapi[_-]?key\b"),
        (
            "insert",
            rf"\binsert{gap}+into\b[^;']{{0,5000}}?(?:{_SECRET}|(?<![a-z0-9])(?:pw|pass)\b)",
        ),
        ("=", rf"\b{_COLUMN}\"?{gap}*(?:=>|:=|=){gap}*{string}"),
        # A parameter or a column with its type and its default.
        ("default", rf"\b{_COLUMN}\"?{gap}[^,;']{{1,200}}?\bdefault{gap}*{string}"),
        ("=", rf"\b{_COLUMN}\"?{gap}+(?:constant{gap}+)?\w+(?:\([^()]*\))?{gap}*:?={gap}*{string}"),
        # An output column of a query.
        ("as", rf"'{gap}*as{gap}+\"?{_COLUMN}\b"),
        ("from", rf"'{gap}+\"?{_COLUMN}\"?{gap}+from\b"),
        # The name may stand in a string of the same statement, as for a table of settings.
        *((sign, rf"'[\w./:,{{}}-]*{_SECRET}[\w./:,{{}}-]*'") for sign in _SECRET_SIGNS),
        (
            "_key'",
            r"'\w*(?:stripe|openai|anthropic|sendgrid|twilio|aws|auth|master|license|smtp|webhook)"
            r"\w*_key'",
        ),
    )
