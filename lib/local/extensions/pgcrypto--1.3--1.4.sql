-- Whether OpenSSL is in its FIPS mode; there is no OpenSSL.
create function fips_mode() returns boolean
language sql volatile strict parallel safe
return false;
