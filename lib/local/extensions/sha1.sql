    -- SHA-1 (FIPS 180-4): sets `hash` from `message`. Not on the server's list of functions, which
    -- begins at SHA-224.
    <<sha1>>
    declare
        word_mask constant bigint := 4294967295;
        size constant integer := length(message);
        -- A one bit, zeros, and the number of bits, up to a multiple of 64 bytes.
        padded constant bytea := message || '\x80'::bytea
            || decode(repeat('00', (119 - size % 64) % 64), 'hex') || int8send(size::bigint * 8);
        block bytea;
        w bigint[];
        h0 bigint := 1732584193;
        h1 bigint := 4023233417;
        h2 bigint := 2562383102;
        h3 bigint := 271733878;
        h4 bigint := 3285377520;
        a bigint;
        b bigint;
        c bigint;
        d bigint;
        e bigint;
        mixed bigint;
    begin
        for start in 0 .. length(padded) - 64 by 64 loop
            block := substr(padded, start + 1, 64);
            w := array_fill(0::bigint, array[80], array[0]);
            for t in 0 .. 15 loop
                w[t] := (get_byte(block, 4 * t)::bigint << 24)
                    | (get_byte(block, 4 * t + 1)::bigint << 16)
                    | (get_byte(block, 4 * t + 2)::bigint << 8)
                    | get_byte(block, 4 * t + 3)::bigint;
            end loop;
            for t in 16 .. 79 loop
                mixed := w[t - 3] # w[t - 8] # w[t - 14] # w[t - 16];
                w[t] := ((mixed << 1) | (mixed >> 31)) & word_mask;
            end loop;
            a := h0; b := h1; c := h2; d := h3; e := h4;
            for t in 0 .. 79 loop
                mixed := case
                    when t < 20 then ((b & c) | ((b # word_mask) & d)) + 1518500249
                    when t < 40 then (b # c # d) + 1859775393
                    when t < 60 then ((b & c) | (b & d) | (c & d)) + 2400959708
                    else (b # c # d) + 3395469782
                end;
                mixed := ((((a << 5) | (a >> 27)) & word_mask) + mixed + e + w[t]) & word_mask;
                e := d; d := c; c := ((b << 30) | (b >> 2)) & word_mask; b := a; a := mixed;
            end loop;
            h0 := (h0 + a) & word_mask;
            h1 := (h1 + b) & word_mask;
            h2 := (h2 + c) & word_mask;
            h3 := (h3 + d) & word_mask;
            h4 := (h4 + e) & word_mask;
        end loop;
        -- Each as eight bytes, of which the last four hold it.
        hash := substr(int8send(h0), 5) || substr(int8send(h1), 5) || substr(int8send(h2), 5)
            || substr(int8send(h3), 5) || substr(int8send(h4), 5);
    end;
