"""What a statement says that it does."""

import pytest

from lib.review.statement_effects import Clause, Effect, EffectKind, effects_of, search_path_of
from lib.sql.statement import Statement


def statement(text: str) -> Statement:
    return Statement(text, 0, len(text), terminated=text.endswith(";"))


def effects(text: str) -> tuple[Effect, ...]:
    return effects_of(statement(text))


def shown(effect: Effect) -> str:
    """An effect in one line: what a row of the table below compares."""
    parts = [effect.kind.value, f"[{effect.what}]", str(effect.on)]
    parts += [f".{effect.part}"] if effect.part else []
    parts += [f"-> {effect.new}"] if effect.new else []
    parts += [f"& {effect.other}"] if effect.other else []
    parts += [f"({', '.join(effect.columns)})"] if effect.columns else []
    return " ".join([*parts, *(f"+{clause}" for clause in Clause if effect.has(clause))])


EFFECTS = {
    "drop table t": ["drop [table] t"],
    "drop table if exists a, s.b cascade": [
        "drop [table] a +if exists +cascade",
        "drop [table] s.b +if exists +cascade",
    ],
    'DROP TABLE "Order", U&"d\\0061ta", U&"d!0061t!!" UESCAPE \'!\'': [
        'drop [table] "Order"',
        "drop [table] data",
        'drop [table] "dat!"',
    ],
    "drop view v": ["drop [view] v"],
    "drop materialized view s.v": ["drop [materialized view] s.v"],
    "drop function f(int, text), g": ["drop [function] f", "drop [function] g"],
    "drop type mood": ["drop [type] mood"],
    "drop schema s cascade": ["drop [schema] s +cascade"],
    "drop sequence q": ["drop [sequence] q"],
    "drop index concurrently if exists i, j": [
        "drop [index] i +if exists +concurrently",
        "drop [index] j +if exists +concurrently",
    ],
    "drop owned by joe": [],
    "drop trigger x on t": [],
    "truncate only a, s.b *, c restart identity cascade": [
        "truncate [table] a +cascade",
        "truncate [table] s.b +cascade",
        "truncate [table] c +cascade",
    ],
    "truncate table t;": ["truncate [table] t"],
    "alter table t drop column a, drop if exists b cascade, drop constraint c": [
        "drop column [table] t .a",
        "drop column [table] t .b +if exists +cascade",
        "drop constraint [table] t .c",
    ],
    "alter table if exists only s.t * drop a": ["drop column [table] s.t .a +only"],
    "alter table t rename a to b": ["rename column [table] t .a -> b"],
    'alter table t rename column "A" to "B"': ["rename column [table] t .A -> B"],
    "alter table t rename to u": ["rename [table] t -> u"],
    "alter table t rename constraint c to d": ["rename constraint [table] t .c -> d"],
    "alter view v rename column a to b": ["rename column [view] v .a -> b"],
    "alter type mood rename to feeling": ["rename [type] mood -> feeling"],
    "alter type mood rename value 'a' to 'b'": [],
    "alter type mood add value 'b'": [],
    "alter type pair drop attribute a": ["drop column [type] pair .a"],
    "alter function f(int) rename to g": ["rename [function] f -> g"],
    "alter table t set schema s": ["set schema [table] t -> s"],
    "alter table t alter a set not null, alter column b drop not null": [
        "set not null [table] t .a",
        "drop not null [table] t .b",
    ],
    "alter table t alter a type bigint using a::bigint, alter b set data type text": [
        "alter type [table] t .a +using",
        "alter type [table] t .b",
    ],
    "alter table t alter a set default 1, alter b drop default": [
        "set default [table] t .a",
        "drop default [table] t .b",
    ],
    "alter table t add a int": ["add column [table] t .a"],
    "alter table t add column if not exists a int not null default (now())": [
        "add column [table] t .a +if not exists +not null +default",
    ],
    "alter table t add a int references s.u (id), add b text unique check (b <> '')": [
        "add column [table] t .a",
        "add constraint [foreign key] t & s.u (a) +with column",
        "add column [table] t .b",
        "add constraint [check] t (b) +with column",
        "add constraint [unique] t (b) +with column",
    ],
    "alter table t add a int generated always as identity": [
        "add column [table] t .a +generated",
    ],
    "alter table t add exclude int": ["add column [table] t .exclude"],
    "alter table t add constraint c foreign key (a, b) references u (c, d) not valid": [
        "add constraint [foreign key] t .c & u (a, b) +not valid",
    ],
    "alter table t add check (a > 0 and b in (1, 2)), add unique (a)": [
        "add constraint [check] t",
        "add constraint [unique] t (a)",
    ],
    "alter table t add constraint c unique using index i": [
        "add constraint [unique] t .c +using index",
    ],
    "alter table t add constraint c not null a not valid": [
        "add constraint [not null] t .c (a) +not valid",
    ],
    "alter table t add exclude using gist (a with &&)": ["add constraint [exclude] t"],
    "alter table t validate constraint c": ["validate constraint [table] t .c"],
    "alter table t attach partition p for values in (1)": ["attach partition [table] t & p"],
    "alter table t detach partition p concurrently": [
        "detach partition [table] t & p +concurrently"
    ],
    "alter table t set unlogged": ["set logged or unlogged [table] t"],
    "alter table t set (fillfactor = 70), enable row level security": [],
    "create unique index concurrently if not exists i on only s.t (a, lower(b), c desc)": [
        "create [index] s.t .i (a, c) +if not exists +only +concurrently +unique",
    ],
    "create index on t (a) where b": ["create [index] t (a) +where"],
    "create unlogged table if not exists t (a int)": ["create [table] t +if not exists"],
    "create temp table t as select 1": ["create [table] t +temporary"],
    "create or replace temp view v as select 1": ["create [view] v +or replace +temporary"],
    "create materialized view v as select 1": ["create [materialized view] v"],
    "create schema authorization joe": ["create [schema] joe"],
    "create function s.f() returns int language sql as $$ drop table t; $$": [
        "create [function] s.f"
    ],
    "select 1 as a into temp u from t": ["create [table] u +temporary"],
    "update only t set a = (select 1 where true)": ["update [table] t"],
    "update t set a = 1 where b": ["update [table] t +where"],
    "delete from s.t": ["delete [table] s.t"],
    "with x as (select 1 where true) delete from t": ["delete [table] t"],
    "with x as (select 1) select * from x for update of x": [],
    "reindex (concurrently) index i": ["reindex [index] i +concurrently"],
    "reindex table t": ["reindex [table] t"],
    "cluster verbose t using i": ["cluster [table] t"],
    "vacuum (full, analyze) a, b (c)": ["vacuum full [table] a", "vacuum full [table] b"],
    "vacuum full t": ["vacuum full [table] t"],
    "vacuum t": [],
    "refresh materialized view concurrently v": [
        "refresh materialized view [materialized view] v +concurrently"
    ],
    "do $$ begin drop table t; end $$": [],
    "select 'drop table t; -- into u'": [],
    "drop -- table v\n /* drop table u; */ table t": ["drop [table] t"],
    "insert into t values ('alter table t drop a')": [],
    "alter table t": [],
    "alter": [],
    "drop table": [],
    "create index on": [],
    "truncate": [],
}


@pytest.mark.parametrize("text", EFFECTS)
def test_the_effects_of_a_statement_are_those_that_its_text_names(text: str) -> None:
    assert [shown(effect) for effect in effects(text)] == EFFECTS[text]


def test_the_definition_is_what_stands_behind_the_name_without_comments() -> None:
    column, constraint, index = (
        effects(text)[0].definition
        for text in (
            "alter table t add a numeric(10,2) -- money\n not null  default 'a  b'",
            "alter table t add constraint c check (a > 0) not valid",
            "create index i on t using gin (a) where b;",
        )
    )
    assert column == "numeric(10,2) not null default 'a  b'"
    assert constraint == "check (a > 0) not valid"
    assert index == "using gin (a) where b"


@pytest.mark.parametrize(
    ("text", "schemas"),
    [
        ("set search_path to app, \"Odd\", 'third'", ("app", "Odd", "third")),
        ("set local search_path = app;", ("app",)),
        ("select pg_catalog.set_config('search_path', '', false);", ("pg_catalog",)),
        ("select set_config('search_path', 'a, b', false)", ("a", "b")),
        ("set search_path to default", ()),
        ("reset search_path", ()),
        ("reset all;", ()),
        ("reset role", None),
        ("select set_config('search_path', '\"a', false)", None),
        ("set lock_timeout = 1", None),
        ("select 1", None),
    ],
)
def test_the_search_path_of_a_statement(text: str, schemas: tuple[str, ...] | None) -> None:
    assert search_path_of(statement(text)) == schemas


def test_every_kind_of_effect_is_read_from_some_statement() -> None:
    assert {effect.kind for text in EFFECTS for effect in effects(text)} == set(EffectKind)
