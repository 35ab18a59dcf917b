--
-- PostgreSQL database dump
--

\restrict 0123456789abcdef

-- Dumped from database version 18.6
-- Dumped by pg_dump version 18.6

SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET transaction_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;

--
-- Name: app; Type: SCHEMA; Schema: -; Owner: -
--

CREATE SCHEMA app;


--
-- Name: citext; Type: EXTENSION; Schema: -; Owner: -
--

CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;


--
-- Name: EXTENSION citext; Type: COMMENT; Schema: -; Owner: -
--

COMMENT ON EXTENSION citext IS 'data type for case-insensitive character strings';


--
-- Name: mood; Type: TYPE; Schema: app; Owner: -
--

CREATE TYPE app.mood AS ENUM (
    'it''s fine',
    'so; so',
    'é'
);


--
-- Name: positive; Type: DOMAIN; Schema: app; Owner: -
--

CREATE DOMAIN app.positive AS integer
	CONSTRAINT positive_check CHECK ((VALUE > 0));


SET default_tablespace = '';

SET default_table_access_method = heap;

--
-- Name: post; Type: TABLE; Schema: app; Owner: -
--

CREATE TABLE app.post (
    id integer NOT NULL,
    author_id bigint,
    body text,
    at timestamp with time zone DEFAULT now(),
    CONSTRAINT post_body_check CHECK ((length(body) < 1000))
);


--
-- Name: TABLE post; Type: COMMENT; Schema: app; Owner: -
--

COMMENT ON TABLE app.post IS 'it''s; a $$comment$$ -- no /* really';


--
-- Name: clean(); Type: PROCEDURE; Schema: app; Owner: -
--

CREATE PROCEDURE app.clean()
    LANGUAGE sql
    BEGIN ATOMIC
 DELETE FROM app.post
   WHERE (post.body IS NULL);
 UPDATE app.post SET body = 'a;b'::text;
END;


--
-- Name: touch(); Type: FUNCTION; Schema: app; Owner: -
--

CREATE FUNCTION app.touch() RETURNS trigger
    LANGUAGE plpgsql
    AS $_$
begin
  -- it's a comment; with a semicolon
  new.at := now();
  execute $$ select ';' $$;
  return new;
end;
$_$;


--
-- Name: twice(integer); Type: FUNCTION; Schema: app; Owner: -
--

CREATE FUNCTION app.twice(x integer) RETURNS integer
    LANGUAGE sql
    BEGIN ATOMIC
 SELECT
         CASE
             WHEN (x > 0) THEN (x * 2)
             ELSE
             CASE
                 WHEN (x < 0) THEN (- x)
                 ELSE NULL::integer
             END
         END AS "case";
END;


--
-- Name: author; Type: TABLE; Schema: app; Owner: -
--

CREATE TABLE app.author (
    id bigint NOT NULL,
    email public.citext NOT NULL,
    name text DEFAULT 'a\b'::text,
    mood app.mood,
    "odd;name" integer
);


--
-- Name: author_id_seq; Type: SEQUENCE; Schema: app; Owner: -
--

ALTER TABLE app.author ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME app.author_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);


--
-- Name: counts; Type: MATERIALIZED VIEW; Schema: app; Owner: -
--

CREATE MATERIALIZED VIEW app.counts AS
 SELECT author_id,
    count(*) AS count
   FROM app.post
  GROUP BY author_id
  WITH NO DATA;


--
-- Name: log; Type: TABLE; Schema: app; Owner: -
--

CREATE TABLE app.log (
    at date NOT NULL,
    line text
)
PARTITION BY RANGE (at);


--
-- Name: log_2026; Type: TABLE; Schema: app; Owner: -
--

CREATE TABLE app.log_2026 (
    at date CONSTRAINT log_at_not_null NOT NULL,
    line text
);


--
-- Name: post_id_seq; Type: SEQUENCE; Schema: app; Owner: -
--

CREATE SEQUENCE app.post_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;


--
-- Name: post_id_seq; Type: SEQUENCE OWNED BY; Schema: app; Owner: -
--

ALTER SEQUENCE app.post_id_seq OWNED BY app.post.id;


--
-- Name: recent; Type: VIEW; Schema: app; Owner: -
--

CREATE VIEW app.recent AS
 SELECT p.id,
    p.author_id,
    p.body,
    p.at,
    a.name
   FROM (app.post p
     JOIN app.author a ON ((a.id = p.author_id)));


--
-- Name: log_2026; Type: TABLE ATTACH; Schema: app; Owner: -
--

ALTER TABLE ONLY app.log ATTACH PARTITION app.log_2026 FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');


--
-- Name: post id; Type: DEFAULT; Schema: app; Owner: -
--

ALTER TABLE ONLY app.post ALTER COLUMN id SET DEFAULT nextval('app.post_id_seq'::regclass);


--
-- Data for Name: author; Type: TABLE DATA; Schema: app; Owner: -
--

COPY app.author (id, email, name, mood, "odd;name") FROM stdin;
1	a@example.com	tab\there	it's fine	\N
2	b@example.com	line\nend\\	é	\N
\.


--
-- Data for Name: log_2026; Type: TABLE DATA; Schema: app; Owner: -
--

COPY app.log_2026 (at, line) FROM stdin;
2026-05-05	it's; /* "x
\.


--
-- Data for Name: post; Type: TABLE DATA; Schema: app; Owner: -
--

COPY app.post (id, author_id, body, at) FROM stdin;
1	1	\\.	2026-11-22 22:19:15.727555+00
2	1	BEGIN; COMMIT;	2026-11-22 22:19:15.727555+00
3	2		2026-11-22 22:19:15.727555+00
4	2	\N	2026-11-22 22:19:15.727555+00
\.


--
-- Name: author_id_seq; Type: SEQUENCE SET; Schema: app; Owner: -
--

SELECT pg_catalog.setval('app.author_id_seq', 2, true);


--
-- Name: post_id_seq; Type: SEQUENCE SET; Schema: app; Owner: -
--

SELECT pg_catalog.setval('app.post_id_seq', 4, true);


--
-- Name: author author_email_key; Type: CONSTRAINT; Schema: app; Owner: -
--

ALTER TABLE ONLY app.author
    ADD CONSTRAINT author_email_key UNIQUE (email);


--
-- Name: author author_pkey; Type: CONSTRAINT; Schema: app; Owner: -
--

ALTER TABLE ONLY app.author
    ADD CONSTRAINT author_pkey PRIMARY KEY (id);


--
-- Name: post post_pkey; Type: CONSTRAINT; Schema: app; Owner: -
--

ALTER TABLE ONLY app.post
    ADD CONSTRAINT post_pkey PRIMARY KEY (id);


--
-- Name: post_author_id_idx; Type: INDEX; Schema: app; Owner: -
--

CREATE INDEX post_author_id_idx ON app.post USING btree (author_id) WHERE (body IS NOT NULL);


--
-- Name: recent quiet; Type: RULE; Schema: app; Owner: -
--

CREATE RULE quiet AS
    ON INSERT TO app.recent DO INSTEAD ( SELECT 1 AS "?column?";
 SELECT 2 AS "?column?";
);


--
-- Name: post touch; Type: TRIGGER; Schema: app; Owner: -
--

CREATE TRIGGER touch BEFORE UPDATE ON app.post FOR EACH ROW EXECUTE FUNCTION app.touch();


--
-- Name: post post_author_id_fkey; Type: FK CONSTRAINT; Schema: app; Owner: -
--

ALTER TABLE ONLY app.post
    ADD CONSTRAINT post_author_id_fkey FOREIGN KEY (author_id) REFERENCES app.author(id) ON DELETE CASCADE;


--
-- Name: post own; Type: POLICY; Schema: app; Owner: -
--

CREATE POLICY own ON app.post USING ((author_id > 0));


--
-- Name: post; Type: ROW SECURITY; Schema: app; Owner: -
--

ALTER TABLE app.post ENABLE ROW LEVEL SECURITY;

--
-- Name: counts; Type: MATERIALIZED VIEW DATA; Schema: app; Owner: -
--

REFRESH MATERIALIZED VIEW app.counts;


--
-- PostgreSQL database dump complete
--

\unrestrict 0123456789abcdef

