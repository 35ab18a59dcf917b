-- What has misled one tool or another: apostrophes and semicolons in comments; it's not over yet.
/* a block comment; with 'a quote, /* another inside; */ and "the rest" */

;;
create table "semi;colon" (x int, "it's" text default 'a;b' /* ; */, y text); create table b(); -- two on a line;
insert into "semi;colon" values (1, E'it\'s; \\', 'back\slash;'), (2, U&'\0441;', $$dollar; '$$), (3, 'a'
  ';b', $é$ $e$; $$ ; $é$);
insert into "semi;colon" (x) values (1::int), (2--;
), (3 /*;*/);
select $1$2, a$b, a$$b; select '$$', ';', '$$';
create rule r as on update to b do also (select ';'; select ")" from (select 1 as ")") s; select 2);
do $outer$
begin
  execute 'select ''$inner$;''';
  perform $inner$ begin; commit; $inner$;
  if false then commit; end if;
end
$outer$;
create function f(a int default 1) returns int language sql immutable
begin atomic
  select case when a > 0 then case a when 1 then 2 end else (select 3) end;
  select 4;
end;
create or replace procedure p() language plpgsql as 'begin perform ''a;b''; end;';
copy b from stdin;
\.
copy "semi;colon" (x, y) from stdin with (format text); -- the data;
4	it's; $$ -- not sql
5	\\.
6	\N
\.
select 1 -- no semicolon, and a comment at the end; of all
