-- Windows line ends

create table w (
  x int, -- it's; one
  y text
);
copy w from stdin;
1	a;b
\.
select E'a\';', $$
;
$$;
/* ; */ select 2