/* Streams, shards and indexes: written, read back, cut, damaged, concatenated. */
#include "data/stream.h"

#include <fcntl.h>
#include <locale.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/rng.h"
#include "data/index.h"
#include "data/loader.h"
#include "format/archive.h"
#include "tests/test.h"

static struct lafs_err e;
static char dir[64];

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static int turn;
    char *p = path[turn++ & 3];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static void put_file(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(in_dir(name), "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) abort();
}

static struct lafs_buf get_file(const char *name)
{
    struct lafs_buf b;
    lafs_buf_init(&b);
    if (lafs_buf_read_file(&b, in_dir(name), 1 << 28, &e) != LAFS_OK) abort();
    return b;
}

/* n samples k/k0.. with a picture of `size` bytes, a name, and some others. */
static lafs_status write_samples(const char *out, int from, int n, size_t size, const char *aligner, int64_t per_shard,
                                 int ok)
{
    struct lafs_writer_options opt = {.out = in_dir(out), .shard_samples = per_shard};
    struct lafs_header h;
    struct lafs_writer *w;
    struct lafs_sample s;
    char key[64], *jpg = calloc(1, size + 3);
    memcpy(jpg, "\xff\xd8\xff", 3);
    lafs_header_init(&h);
    snprintf(h.pixels.aligner, sizeof h.pixels.aligner, "%s", aligner);
    h.pixels.size = 112;
    h.seed = 7;
    lafs_header_add_prov(&h, "test", "0.1", (const char *const[]){"x"}, (const char *const[]){"1"}, 1, &e);
    lafs_status st = lafs_writer_open(&w, &opt, &h, &e);
    lafs_sample_init(&s);
    for (int i = from; i < from + n && st == LAFS_OK; i++) {
        lafs_sample_clear(&s);
        snprintf(key, sizeof key, "p%d/k%d", i % 3, i);
        lafs_sample_set_str(&s, "key", key);
        lafs_sample_set_bin(&s, "jpg", jpg, size + 3);
        snprintf(key, sizeof key, "p%d", i % 3);
        lafs_sample_set_str(&s, "name", key);
        lafs_sample_set_int(&s, "number", i);
        st = lafs_writer_put(w, &s, &e);
    }
    struct lafs_totals t = {.skipped = 2, .no_face = 1, .ok = ok};
    if (st == LAFS_OK) st = lafs_writer_close(w, &t, &e);
    lafs_header_release(&h);
    lafs_sample_release(&s);
    free(jpg);
    return st;
}

/* Reads all; *n = good samples, *bad = bad ones. */
static lafs_status read_all(const char *const *names, int count, int *n, int *bad, struct lafs_totals *totals)
{
    const char *paths[4];
    struct lafs_reader *r;
    struct lafs_sample s;
    *n = *bad = 0;
    for (int i = 0; i < count; i++) paths[i] = strcmp(names[i], "-") ? in_dir(names[i]) : "-";
    lafs_status st = lafs_reader_open(&r, paths, count, NULL, &e);
    if (st != LAFS_OK) return st;
    lafs_sample_init(&s);
    while ((st = lafs_reader_next(r, &s, &e)) == LAFS_OK || st == LAFS_BAD_RECORD) {
        *n += st == LAFS_OK;
        *bad += st == LAFS_BAD_RECORD;
    }
    if (totals) *totals = *lafs_reader_totals(r);
    lafs_sample_release(&s);
    lafs_reader_close(r);
    return st;
}

static lafs_status read_one(const char *name, int *n, int *bad) { return read_all(&name, 1, n, bad, NULL); }

TEST(stream_round_trip)
{
    int n, bad;
    struct lafs_totals t;
    REQUIRE_OK(write_samples("a", 0, 10, 500, "arcface5", 0, 1), &e);
    CHECK_INT(read_all((const char *const[]){"a"}, 1, &n, &bad, &t), LAFS_END);
    CHECK(n == 10 && bad == 0 && t.count == 10 && t.skipped == 2 && t.no_face == 1);
    struct lafs_reader *r;
    REQUIRE_OK(lafs_reader_open(&r, (const char *const[]){in_dir("a")}, 1, NULL, &e), &e);
    const struct lafs_header *h = lafs_reader_header(r);
    CHECK(h->pixels.size == 112 && strcmp(h->pixels.aligner, "arcface5") == 0 && h->seed == 7 && h->prov_count == 1);
    lafs_reader_close(r);
}

/* Cut at every byte: never an ordinary end, never a crash; what came before the cut is given out. */
TEST(stream_cut_at_every_byte)
{
    int n = 0, bad;
    REQUIRE_OK(write_samples("a", 0, 4, 10, "arcface5", 0, 1), &e);
    struct lafs_buf b = get_file("a");
    for (size_t cut = 0; cut < b.size; cut++) {
        put_file("cut", b.data, cut);
        CHECK_INT(read_one("cut", &n, &bad), LAFS_CUT);
        CHECK(n <= 4 && bad == 0);
    }
    CHECK_INT(n, 4);
    put_file("cut", b.data, 0);
    CHECK_INT(read_one("cut", &n, &bad), LAFS_CUT);
    CHECK(strstr(e.msg, "is empty") != NULL);
    lafs_buf_release(&b);
}

TEST(stream_damage_is_seen)
{
    int n, bad;
    REQUIRE_OK(write_samples("a", 0, 4, 10, "arcface5", 0, 1), &e);
    struct lafs_buf b = get_file("a");
    size_t header, len, at, last = 0;
    REQUIRE_OK(lafs_walk_measure(b.data, b.size, &header, &e), &e);
    for (at = header; at < b.size && lafs_walk_measure(b.data + at, b.size - at, &len, &e) == LAFS_OK; at += len)
        last = at;
    for (size_t i = header; i < last; i++) {
        b.data[i] ^= 0x15;
        put_file("bent", b.data, b.size);
        CHECK(read_one("bent", &n, &bad) != LAFS_END);
        b.data[i] ^= 0x15;
    }
    for (size_t i = 0; i < b.size; i++) { /* header and trailer may bend unseen, but harm nothing */
        b.data[i] ^= 0x80;
        put_file("bent", b.data, b.size);
        read_one("bent", &n, &bad);
        b.data[i] ^= 0x80;
    }
    lafs_buf_release(&b);
}

/* Whatever counts trailers state, the sums of them wrap around to no nonsense. */
TEST(stated_counts_are_summed)
{
    int n, bad;
    struct lafs_totals t = {.skipped = INT64_MAX, .no_face = INT64_MAX - 1, .ok = 1};
    struct lafs_writer_options opt = {.out = in_dir("boast")};
    struct lafs_header h;
    struct lafs_writer *w;
    lafs_header_init(&h);
    REQUIRE_OK(lafs_writer_open(&w, &opt, &h, &e), &e);
    REQUIRE_OK(lafs_writer_close(w, &t, &e), &e);
    lafs_header_release(&h);
    CHECK_INT(read_all((const char *const[]){"boast", "boast"}, 2, &n, &bad, &t), LAFS_END);
    CHECK(n == 0 && t.skipped == INT64_MAX / 2 && t.no_face == INT64_MAX / 2);
}

TEST(streams_concatenate)
{
    int n, bad;
    struct lafs_totals t;
    REQUIRE_OK(write_samples("a", 0, 4, 10, "arcface5", 0, 1), &e);
    REQUIRE_OK(write_samples("b", 4, 3, 10, "arcface5", 0, 1), &e);
    REQUIRE_OK(write_samples("c", 9, 3, 10, "given", 0, 1), &e);
    struct lafs_buf a = get_file("a"), b = get_file("b"), both;
    lafs_buf_init(&both);
    lafs_buf_put(&both, a.data, a.size);
    lafs_buf_put(&both, b.data, b.size);
    put_file("ab", both.data, both.size);
    CHECK_INT(read_all((const char *const[]){"ab"}, 1, &n, &bad, &t), LAFS_END);
    CHECK(n == 7 && t.count == 7 && t.skipped == 4);
    CHECK_INT(read_all((const char *const[]){"a", "b"}, 2, &n, &bad, &t), LAFS_END);
    CHECK(n == 7 && t.count == 7);
    CHECK_INT(read_all((const char *const[]){"a", "c"}, 2, &n, &bad, &t), LAFS_FAILED);
    CHECK(strstr(e.msg, "aligner 'given'") && strstr(e.msg, "'arcface5'"));
    /* The first one's trailer missing: a header before a trailer. */
    size_t len, at = 0, last = 0;
    while (at < a.size && lafs_walk_measure(a.data + at, a.size - at, &len, &e) == LAFS_OK) last = at, at += len;
    lafs_buf_clear(&both);
    lafs_buf_put(&both, a.data, last);
    lafs_buf_put(&both, b.data, b.size);
    put_file("ab", both.data, both.size);
    CHECK_INT(read_one("ab", &n, &bad), LAFS_CUT);
    CHECK_INT(n, 4);
    /* Bare maps are fine, also behind a stream. */
    lafs_walk_measure(b.data, b.size, &len, &e);
    lafs_buf_clear(&both);
    lafs_buf_put(&both, b.data, b.size);
    lafs_buf_puts(&both, "\x81\xa3key\xa1z");
    put_file("ab", both.data, both.size);
    CHECK_INT(read_one("ab", &n, &bad), LAFS_END);
    CHECK_INT(n, 4);
    lafs_buf_release(&a);
    lafs_buf_release(&b);
    lafs_buf_release(&both);
}

TEST(failed_producer)
{
    int n, bad;
    REQUIRE_OK(write_samples("whole-or-not", 0, 2, 10, "arcface5", 0, 0), &e);
    CHECK(access(in_dir("whole-or-not"), F_OK) != 0);
    REQUIRE_OK(write_samples("no-%03d.tar", 0, 2, 10, "arcface5", 0, 0), &e);
    CHECK(access(in_dir("no.lafs"), F_OK) != 0);
    CHECK_INT(read_one("no-000.tar", &n, &bad), LAFS_CUT);
    CHECK(strstr(e.msg, "the producer of") != NULL);
}

TEST(bare_and_bad_records)
{
    int n, bad;
    static const char bare[] = "\x81\xa3key\xa1"
                               "a"
                               "\x81\xa3key\xa3"
                               "a.b"
                               "\x81\xa1x\x01"
                               "\x81\xa3key\xa2z\0"
                               "\x81\xa3key\xa1"
                               "c";
    put_file("bare", bare, sizeof bare - 1);
    CHECK_INT(read_one("bare", &n, &bad), LAFS_END);
    CHECK(n == 2 && bad == 3);
    static const char bomb[] = "\x81\xa3key\xdd\x03\xff\xff\xff";
    put_file("bomb", bomb, sizeof bomb - 1);
    CHECK_INT(read_one("bomb", &n, &bad), LAFS_CUT);
    static const char number[] = "\x81\xa3key\xa1" "a" "\x05";
    put_file("number", number, sizeof number - 1);
    CHECK_INT(read_one("number", &n, &bad), LAFS_FAILED);
    put_file("text", "hello\n", 6);
    CHECK_INT(read_one("text", &n, &bad), LAFS_FAILED);
    CHECK(strstr(e.msg, "text") != NULL);
    put_file("gif", "GIF89a......", 12);
    CHECK_INT(read_one("gif", &n, &bad), LAFS_FAILED);
    CHECK(strstr(e.msg, "a GIF picture") != NULL);
    put_file("png", "\x89PNG\r\n\x1a\n....", 12);
    CHECK_INT(read_one("png", &n, &bad), LAFS_END);
    CHECK(n == 1 && bad == 0);
    CHECK_INT(read_one("missing", &n, &bad), LAFS_FAILED);
    CHECK(strstr(e.msg, "no such file") != NULL);
    static const char version[] = "\x81\xa8__lafs__\x02";
    put_file("version", version, sizeof version - 1);
    CHECK_INT(read_one("version", &n, &bad), LAFS_FAILED);
    CHECK(strstr(e.msg, "version 2") != NULL);
}

/* A pipe whose writer hands over a few bytes at a time. */
static lafs_status read_piecemeal(const struct lafs_buf *b, uint64_t seed, int *n, int *bad)
{
    int p[2];
    if (pipe(p)) abort();
    pid_t child = fork();
    if (child == 0) {
        struct lafs_rng r;
        lafs_rng_init(&r, lafs_rng_key(seed, LAFS_RNG_TEST, 0, 0, 0));
        for (size_t at = 0; at < b->size;) {
            size_t step = 1 + (size_t)lafs_rng_below(&r, lafs_rng_below(&r, 8) ? 50 : 3000);
            if (step > b->size - at) step = b->size - at;
            ssize_t done = write(p[1], b->data + at, step);
            if (done < 0) _exit(1);
            at += (size_t)done;
        }
        _exit(0);
    }
    close(p[1]);
    int old = dup(0);
    dup2(p[0], 0);
    close(p[0]);
    lafs_status st = read_one("-", n, bad);
    dup2(old, 0);
    close(old);
    waitpid(child, NULL, 0);
    return st;
}

TEST(short_reads)
{
    int n, bad;
    REQUIRE_OK(write_samples("a", 0, 20, 3000, "arcface5", 0, 1), &e);
    REQUIRE_OK(write_samples("t.tar", 0, 20, 3000, "arcface5", 0, 1), &e);
    struct lafs_buf a = get_file("a"), t = get_file("t.tar");
    for (uint64_t seed = 0; seed < 5; seed++) {
        CHECK_INT(read_piecemeal(&a, seed, &n, &bad), LAFS_END);
        CHECK(n == 20 && bad == 0);
        CHECK_INT(read_piecemeal(&t, seed, &n, &bad), LAFS_END);
        CHECK(n == 20 && bad == 0);
    }
    lafs_buf_release(&a);
    lafs_buf_release(&t);
}

/* What a reader and a writer hash and hand over in blocks: pictures of many sizes, one of them beyond any buffer. */
static void set_large(struct lafs_sample *s, int i, struct lafs_buf *pixels)
{
    struct lafs_rng r;
    char key[32];
    lafs_rng_init(&r, (uint64_t)i);
    size_t size = i == 70 ? 3 << 20 : 100 + (size_t)lafs_rng_below(&r, i % 10 ? 20000 : 400000);
    lafs_buf_clear(pixels);
    lafs_buf_puts(pixels, "\xff\xd8\xff");
    lafs_buf_reserve(pixels, size);
    for (size_t k = 0; k < size; k++) pixels->data[pixels->size + k] = (unsigned char)(k * (size_t)(i + 1) + k / 250);
    pixels->size += size;
    snprintf(key, sizeof key, "k%d", i);
    lafs_sample_clear(s);
    lafs_sample_set_str(s, "key", key);
    lafs_sample_set_bin(s, "jpg", pixels->data, pixels->size);
}

enum { LARGE = 150 };

/* Reads and compares; the number of samples that were right, and in *end how it ended. */
static int right_large(const char *const *paths, int files, lafs_status *end)
{
    struct lafs_reader *r;
    struct lafs_sample s, want;
    struct lafs_buf pixels;
    int right = 0;
    *end = lafs_reader_open(&r, paths, files, NULL, &e);
    if (*end != LAFS_OK) return 0;
    lafs_buf_init(&pixels);
    lafs_sample_init(&s);
    lafs_sample_init(&want);
    for (int i = 0; (*end = lafs_reader_next(r, &s, &e)) == LAFS_OK; i++) {
        const void *a, *b;
        size_t na, nb;
        set_large(&want, i % LARGE, &pixels);
        right += !strcmp(lafs_sample_key(&s), lafs_sample_key(&want)) &&
                 lafs_sample_bin(&s, "jpg", &a, &na, &e) == LAFS_OK &&
                 lafs_sample_bin(&want, "jpg", &b, &nb, &e) == LAFS_OK && na == nb && memcmp(a, b, na) == 0;
    }
    lafs_sample_release(&s);
    lafs_sample_release(&want);
    lafs_buf_release(&pixels);
    lafs_reader_close(r);
    return right;
}

static lafs_status write_large(const char *out)
{
    struct lafs_header h;
    struct lafs_writer *w;
    struct lafs_sample s;
    struct lafs_buf pixels;
    lafs_header_init(&h);
    lafs_sample_init(&s);
    lafs_buf_init(&pixels);
    lafs_status st = lafs_writer_open(&w, &(struct lafs_writer_options){.out = in_dir(out)}, &h, &e);
    for (int i = 0; i < LARGE && st == LAFS_OK; i++) {
        set_large(&s, i, &pixels);
        st = lafs_writer_put(w, &s, &e);
    }
    if (st == LAFS_OK) st = lafs_writer_close(w, &(struct lafs_totals){.ok = 1}, &e);
    lafs_sample_release(&s);
    lafs_buf_release(&pixels);
    lafs_header_release(&h);
    return st;
}

/* An index has a line for each sample: what does not fit into it is a bad sample, not one without a name. */
TEST(names_in_an_index)
{
    struct lafs_header h;
    struct lafs_writer *w;
    struct lafs_sample s;
    char name[LAFS_MAX_KEY + 2];
    memset(name, 'n', sizeof name);
    lafs_header_init(&h);
    lafs_sample_init(&s);
    REQUIRE_OK(lafs_writer_open(&w, &(struct lafs_writer_options){.out = in_dir("named.tar")}, &h, &e), &e);
    for (int more = 1; more >= 0; more--) {
        name[LAFS_MAX_KEY + more] = 0;
        lafs_sample_clear(&s);
        lafs_sample_set_str(&s, "key", more ? "long" : "fits");
        lafs_sample_set_str(&s, "name", name);
        lafs_status st = lafs_writer_put(w, &s, &e);
        if (more) CHECK(st == LAFS_BAD_RECORD && strstr(e.msg, "the name has 1025 bytes, and may have 1024"));
        else CHECK_INT(st, LAFS_OK);
    }
    CHECK_INT(lafs_writer_close(w, &(struct lafs_totals){.ok = 1}, &e), LAFS_OK);
    struct lafs_buf b = get_file("named.lafs");
    CHECK(b.size > LAFS_MAX_KEY && memmem(b.data, b.size, name, LAFS_MAX_KEY) && !memmem(b.data, b.size, "long", 4));
    lafs_buf_release(&b);
    lafs_sample_release(&s);
    lafs_header_release(&h);
}

TEST(large_streams)
{
    lafs_status end;
    int n, bad;
    REQUIRE_OK(write_large("large"), &e);
    REQUIRE_OK(write_large("large.tar"), &e);
    CHECK_INT(right_large((const char *const[]){in_dir("large"), in_dir("large.tar"), in_dir("large")}, 3, &end),
              3 * LARGE);
    CHECK_INT(end, LAFS_END);
    struct lafs_buf b = get_file("large");
    REQUIRE(b.size > 6 << 20);
    CHECK_INT(read_piecemeal(&b, 1, &n, &bad), LAFS_END);
    CHECK(n == LARGE && bad == 0);
    /* One bit, in each of many blocks: the digest tells. */
    for (size_t at = 1000; at + 1000 < b.size; at += b.size / 12) {
        b.data[at] ^= 1;
        put_file("bent", b.data, b.size);
        right_large((const char *const[]){in_dir("bent")}, 1, &end);
        CHECK(end == LAFS_FAILED && strstr(e.msg, "damaged"));
        b.data[at] ^= 1;
    }
    put_file("cut", b.data, b.size / 2);
    right_large((const char *const[]){in_dir("cut")}, 1, &end);
    CHECK_INT(end, LAFS_CUT);
    lafs_buf_release(&b);
}

static int64_t number_of(struct lafs_fetch *f, int64_t i)
{
    struct lafs_sample s;
    int64_t v = -1;
    lafs_sample_init(&s);
    if (lafs_fetch_sample(f, i, &s, &e) != LAFS_OK || lafs_sample_int(&s, "number", &v, &e) != LAFS_OK) v = -1;
    lafs_sample_release(&s);
    return v;
}

TEST(shards_and_index)
{
    int n, bad;
    REQUIRE_OK(write_samples("x-%06d.tar", 0, 10, 2000, "arcface5", 4, 1), &e);
    struct lafs_index *ix;
    REQUIRE_OK(lafs_index_open(&ix, in_dir("x.lafs"), &e), &e);
    CHECK(ix->shards == 3 && ix->samples == 10 && ix->pixels.size == 112);
    CHECK_STR(ix->shard[1].path, "x-000001.tar");
    CHECK_STR(ix->sample[4].key, "p1/k4");
    CHECK_STR(ix->sample[4].name, "p1");
    CHECK_INT(ix->sample[9].shard, 2);
    struct lafs_fetch *f;
    REQUIRE_OK(lafs_fetch_open(&f, ix, &e), &e);
    for (int i = 9; i >= 0; i--) CHECK_INT(number_of(f, i), i);
    lafs_fetch_close(f);
    /* One of our own shards, without the index beside it. */
    struct lafs_index *one;
    REQUIRE_OK(lafs_index_open(&one, in_dir("x-000001.tar"), &e), &e);
    CHECK(one->samples == 4 && one->pixels.size == 112);
    for (int i = 0; i < 4; i++) {
        CHECK_STR(one->sample[i].key, ix->sample[4 + i].key);
        CHECK_STR(one->sample[i].name, ix->sample[4 + i].name);
        CHECK_INT(one->sample[i].offset, ix->sample[4 + i].offset);
        CHECK_INT(one->sample[i].length, ix->sample[4 + i].length);
    }
    lafs_index_free(one);
    CHECK_INT(read_one("x.lafs", &n, &bad), LAFS_END);
    CHECK(n == 10 && bad == 0);
    CHECK_INT(read_all((const char *const[]){"x-000000.tar", "x-000001.tar", "x-000002.tar"}, 3, &n, &bad, NULL),
              LAFS_END);
    CHECK(n == 10 && bad == 0);
    /* Fewer shards the next time: what is left over goes. */
    struct lafs_buf first = get_file("x-000000.tar");
    REQUIRE_OK(write_samples("x-%06d.tar", 0, 4, 2000, "arcface5", 4, 1), &e);
    CHECK(access(in_dir("x-000001.tar"), F_OK) != 0);
    struct lafs_buf again = get_file("x-000000.tar");
    CHECK(access(in_dir("x-000002.tar"), F_OK) != 0);
    CHECK(first.size == again.size); /* the last shard's trailer has the counts, the same length here */
    lafs_buf_release(&first);
    lafs_buf_release(&again);
    lafs_index_free(ix);
}

/* Of many shards some stay open, not all. */
TEST(many_shards)
{
    struct lafs_index *ix;
    struct lafs_fetch *f;
    REQUIRE_OK(write_samples("m-%06d.tar", 0, 90, 20, "arcface5", 1, 1), &e);
    REQUIRE_OK(lafs_index_read(&ix, in_dir("m.lafs"), &e), &e);
    REQUIRE_OK(lafs_fetch_open(&f, ix, &e), &e);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 90; i++) CHECK_INT(number_of(f, i), i);
    int next = dup(0);
    CHECK(next >= 0 && next < 90);
    close(next);
    lafs_fetch_close(f);
    lafs_index_free(ix);
}

TEST(shard_cut_at_every_block_and_more)
{
    int n, bad;
    REQUIRE_OK(write_samples("t.tar", 0, 3, 700, "arcface5", 0, 1), &e);
    struct lafs_buf b = get_file("t.tar");
    for (size_t cut = 512; cut < b.size; cut += cut % 512 == 0 ? 1 : cut % 512 == 1 ? 510 : 1) {
        put_file("cut.tar", b.data, cut);
        lafs_status st = read_one("cut.tar", &n, &bad);
        CHECK_INT(st, LAFS_CUT);
    }
    /* The same of a foreign one: without header and trailer only the zero blocks tell. */
    size_t head = 1024, tail = b.size - 1024 - 1024;
    struct lafs_buf f;
    lafs_buf_init(&f);
    lafs_buf_put(&f, b.data + head, tail - head);
    size_t members = f.size;
    for (int i = 0; i < 1024; i++) lafs_buf_putc(&f, 0);
    put_file("f.tar", f.data, f.size);
    CHECK_INT(read_one("f.tar", &n, &bad), LAFS_END);
    CHECK(n == 3 && bad == 0);
    for (size_t cut = 512; cut < f.size; cut += 256) {
        put_file("cut.tar", f.data, cut);
        CHECK_INT(read_one("cut.tar", &n, &bad), LAFS_CUT);
    }
    CHECK(members % 512 == 0);
    lafs_buf_release(&f);
    lafs_buf_release(&b);
}

struct member {
    const char *name, *data;
};

static lafs_status collect(void *arg, const void *data, size_t size, struct lafs_err *err)
{
    lafs_buf_put(arg, data, size);
    return lafs_buf_check(arg, err);
}

static void put_tar(const char *name, const struct member *m, int n)
{
    struct lafs_buf b;
    struct lafs_tar_writer *w;
    lafs_buf_init(&b);
    if (lafs_tar_writer_open(&w, collect, &b, &e) != LAFS_OK) abort();
    for (int i = 0; i < n; i++)
        if (lafs_tar_writer_put(w, m[i].name, m[i].data, strlen(m[i].data), &e) != LAFS_OK) abort();
    if (lafs_tar_writer_close(w, &e) != LAFS_OK) abort();
    put_file(name, b.data, b.size);
    lafs_buf_release(&b);
}
#define PUT_TAR(name, m) put_tar(name, m, (int)(sizeof(m) / sizeof *(m)))
#define JPG "\xff\xd8\xffx"
#define PNG "\x89PNG\r"

/* Opens, reads `want` verdicts: '.' good, 'b' bad; gives the last good sample's field as text. */
static void expect(const char *name, const char *want)
{
    struct lafs_reader *r;
    struct lafs_sample s;
    REQUIRE_OK(lafs_reader_open(&r, (const char *const[]){in_dir(name)}, 1, NULL, &e), &e);
    lafs_sample_init(&s);
    char got[64] = "";
    lafs_status st;
    for (size_t i = 0; (st = lafs_reader_next(r, &s, &e)) == LAFS_OK || st == LAFS_BAD_RECORD; i++)
        got[i] = st == LAFS_OK ? '.' : 'b';
    CHECK_INT(st, LAFS_END);
    CHECK_STR(got, want);
    lafs_sample_release(&s);
    lafs_reader_close(r);
}

TEST(foreign_shards)
{
    static const struct member good[] = {{"000/a.jpg", JPG},     {"000/a.CLS", "12\n"}, {"000/a.txt", "hi"},
                                         {"__meta__", "x"},      {"000/b.jpeg", JPG},   {"000/b.cls", "-1"},
                                         {"000/b.seg.npy", "n"}, {"README", "r"}};
    PUT_TAR("good.tar", good);
    expect("good.tar", "..");
    struct lafs_index *ix;
    REQUIRE_OK(lafs_index_open(&ix, in_dir("good.tar"), &e), &e);
    CHECK_INT(ix->samples, 2);
    CHECK_STR(ix->sample[1].key, "000/b");
    CHECK_STR(ix->sample[0].name, "12");
    CHECK_STR(ix->sample[1].name, "");
    struct lafs_fetch *f;
    REQUIRE_OK(lafs_fetch_open(&f, ix, &e), &e);
    struct lafs_sample s;
    lafs_sample_init(&s);
    int64_t cls;
    const void *p;
    size_t len;
    CHECK_INT(lafs_fetch_sample(f, 1, &s, &e), LAFS_OK);
    CHECK_INT(lafs_sample_int(&s, "cls", &cls, &e), LAFS_OK);
    CHECK_INT(cls, -1);
    CHECK_INT(lafs_sample_bin(&s, ".seg.npy", &p, &len, &e), LAFS_OK);
    lafs_fetch_close(f);
    lafs_index_free(ix);
    lafs_sample_release(&s);

    static const struct member twice[] = {
        {"a.jpg", JPG}, {"a.jpg", JPG}, {"b.jpg", JPG}, {"c.mp", "\x80"}, {"c.msg", "\x80"}};
    PUT_TAR("twice.tar", twice);
    expect("twice.tar", "b.b");
    static const struct member bad[] = {{"a.cls", "x"},
                                        {"b.jpg", "GIF89a"},
                                        {"c.webp", "?"},
                                        {"d.mp", "\x81\xa3key\xa1z"},
                                        {"e.mp", "\xdd\x03\xff\xff\xff"},
                                        {"../f.jpg", JPG},
                                        {"g.jpg", JPG},
                                        {"h.cls", ""}};
    PUT_TAR("bad.tar", bad);
    expect("bad.tar", "bbbbbb.b");
}

TEST(tars_of_photos)
{
    struct lafs_reader *r;
    struct lafs_sample s;
    const char *str;
    size_t len;
    lafs_sample_init(&s);
    static const struct member people[] = {
        {"./ann/J. K. 1.jpg", JPG}, {"./ann/J. K. 2.PNG", PNG}, {"./bob/2.jpg", JPG}};
    PUT_TAR("people.tar", people);
    REQUIRE_OK(lafs_reader_open(&r, (const char *const[]){in_dir("people.tar")}, 1, NULL, &e), &e);
    static const char *const keys[] = {"ann/J_ K_ 1", "ann/J_ K_ 2", "bob/2"};
    for (int i = 0; i < 3; i++) {
        REQUIRE_OK(lafs_reader_next(r, &s, &e), &e);
        CHECK_STR(lafs_sample_key(&s), keys[i]);
        CHECK_INT(lafs_sample_str(&s, "name", &str, &len, &e), LAFS_OK);
        CHECK(len == 3 && memcmp(str, i < 2 ? "ann" : "bob", 3) == 0);
        CHECK_INT(lafs_sample_has(&s, "src"), i < 2);
        CHECK(lafs_sample_has(&s, i == 1 ? "png" : "jpg"));
    }
    CHECK_INT(lafs_reader_next(r, &s, &e), LAFS_END);
    lafs_reader_close(r);
    struct lafs_index *ix;
    struct lafs_fetch *f;
    REQUIRE_OK(lafs_index_open(&ix, in_dir("people.tar"), &e), &e);
    CHECK_INT(ix->samples, 3);
    REQUIRE_OK(lafs_fetch_open(&f, ix, &e), &e);
    for (int i = 0; i < 3; i++) {
        CHECK_STR(ix->sample[i].name, i < 2 ? "ann" : "bob");
        REQUIRE_OK(lafs_fetch_sample(f, i, &s, &e), &e);
        CHECK_STR(lafs_sample_key(&s), keys[i]);
        CHECK(lafs_sample_has(&s, "name"));
    }
    lafs_fetch_close(f);
    lafs_index_free(ix);
    /* All in one directory: nobody's name. */
    static const struct member flat[] = {{"utk/1.jpg", JPG}, {"utk/2.jpg", JPG}};
    PUT_TAR("flat.tar", flat);
    REQUIRE_OK(lafs_reader_open(&r, (const char *const[]){in_dir("flat.tar")}, 1, NULL, &e), &e);
    REQUIRE_OK(lafs_reader_next(r, &s, &e), &e);
    CHECK(!lafs_sample_has(&s, "name"));
    lafs_reader_close(r);
    struct lafs_reader_options opt = {.names = LAFS_NAMES_DIR};
    REQUIRE_OK(lafs_reader_open(&r, (const char *const[]){in_dir("flat.tar")}, 1, &opt, &e), &e);
    REQUIRE_OK(lafs_reader_next(r, &s, &e), &e);
    CHECK(lafs_sample_has(&s, "name"));
    lafs_reader_close(r);
    lafs_sample_release(&s);
}

/* Frames of a film, a/v.000.jpg .. : one key, as far as a dot tells, but too many or too large for one record. */
TEST(many_photos_of_one_key)
{
    enum { FRAMES = 600 };
    static char name[FRAMES][24];
    static struct member frames[FRAMES];
    struct lafs_sample s;
    lafs_sample_init(&s);
    for (int i = 0; i < FRAMES; i++) {
        snprintf(name[i], sizeof name[i], "a/v.%03d.jpg", i);
        frames[i] = (struct member){name[i], JPG};
    }
    PUT_TAR("frames.tar", frames);
    for (int small = 0; small < 2; small++) { /* 1: two frames with their headers are as much as a record may be */
        struct lafs_reader_options opt = {.max_record = small ? 2048 : 0};
        struct lafs_reader *r;
        char key[24];
        REQUIRE_OK(lafs_reader_open(&r, (const char *const[]){in_dir("frames.tar")}, 1, &opt, &e), &e);
        for (int i = 0; i < FRAMES; i++) {
            REQUIRE_OK(lafs_reader_next(r, &s, &e), &e);
            snprintf(key, sizeof key, "a/v_%03d", i);
            CHECK_STR(lafs_sample_key(&s), key);
            CHECK(lafs_sample_has(&s, "jpg"));
        }
        CHECK_INT(lafs_reader_next(r, &s, &e), LAFS_END);
        lafs_reader_close(r);
    }
    struct lafs_index *ix;
    struct lafs_fetch *f;
    REQUIRE_OK(lafs_index_open(&ix, in_dir("frames.tar"), &e), &e);
    CHECK_INT(ix->samples, FRAMES);
    REQUIRE_OK(lafs_fetch_open(&f, ix, &e), &e);
    for (int i = 0; i < FRAMES; i += 7) {
        REQUIRE_OK(lafs_fetch_sample(f, i, &s, &e), &e);
        CHECK_STR(lafs_sample_key(&s), ix->sample[i].key);
    }
    lafs_fetch_close(f);
    lafs_index_free(ix);
    lafs_sample_release(&s);
    /* Other members of one key are a record's, which may be bad. */
    int n, bad;
    for (int i = 0; i < FRAMES; i++) snprintf(name[i], sizeof name[i], i < 400 ? "a/v.%03d.txt" : "a/w%03d.jpg", i);
    PUT_TAR("members.tar", frames);
    CHECK_INT(read_one("members.tar", &n, &bad), LAFS_END);
    CHECK_INT(n, FRAMES - 400);
    CHECK_INT(bad, 1);
}

/* What is too large in a shard of ours is a bad record: the shard is not damaged, and what is damaged is seen. */
TEST(too_large_for_a_record)
{
    static const struct lafs_totals fine = {.ok = 1};
    struct lafs_reader_options opt = {.max_record = 8192};
    struct lafs_header h;
    struct lafs_writer *w;
    struct lafs_sample s;
    char big[10000] = {0};
    lafs_header_init(&h);
    lafs_sample_init(&s);
    REQUIRE_OK(lafs_writer_open(&w, &(struct lafs_writer_options){.out = in_dir("big.tar")}, &h, &e), &e);
    for (int i = 0; i < 3; i++) {
        lafs_sample_clear(&s);
        lafs_sample_set_str(&s, "key", i == 0 ? "a" : i == 1 ? "b" : "c");
        lafs_sample_set_bin(&s, "jpg", big, i == 1 ? sizeof big : 100);
        REQUIRE_OK(lafs_writer_put(w, &s, &e), &e);
    }
    REQUIRE_OK(lafs_writer_close(w, &fine, &e), &e);
    lafs_header_release(&h);
    REQUIRE_OK(write_samples("small.tar", 0, 1, 50, "", 0, 1), &e);
    struct lafs_buf cat = get_file("big.tar"), small = get_file("small.tar");
    lafs_buf_put(&cat, small.data, small.size);
    for (int damaged = 0; damaged < 2; damaged++) { /* 1: the second section, of which all is read */
        const char *const paths[] = {in_dir("cat.tar")};
        struct lafs_reader *r;
        for (size_t i = 0; damaged && i + 20 < cat.size; i++)
            if (!memcmp(cat.data + i, "\xff\xd8\xff", 3)) cat.data[i + 20] ^= 1;
        put_file("cat.tar", cat.data, cat.size);
        REQUIRE_OK(lafs_reader_open(&r, paths, 1, &opt, &e), &e);
        CHECK_INT(lafs_reader_next(r, &s, &e), LAFS_OK);
        CHECK_INT(lafs_reader_next(r, &s, &e), LAFS_BAD_RECORD);
        CHECK_STR(lafs_sample_key(&s), "b");
        CHECK(strstr(e.msg, "member of more than 8192 bytes"));
        CHECK_INT(lafs_reader_next(r, &s, &e), LAFS_OK);
        CHECK_STR(lafs_sample_key(&s), "c");
        lafs_status st;
        while ((st = lafs_reader_next(r, &s, &e)) == LAFS_OK) continue;
        CHECK_INT(st, damaged ? LAFS_FAILED : LAFS_END);
        lafs_reader_close(r);
    }
    lafs_buf_release(&cat);
    lafs_buf_release(&small);
    lafs_sample_release(&s);
}

TEST(directories)
{
    struct lafs_reader *r;
    struct lafs_sample s;
    lafs_sample_init(&s);
    static const char *const folders[] = {"d", "d/b", "d/b-c", "d/a", "d/.hidden"};
    for (int i = 0; i < 5; i++) mkdir(in_dir(folders[i]), 0777);
    put_file("d/b/x.jpg", JPG, 4);
    put_file("d/b/y.JPEG", JPG, 4);
    put_file("d/b-c/z.jpg", JPG, 4);
    put_file("d/a/o.png", PNG, 5);
    put_file("d/a/p.gif", "GIF89a", 6);
    put_file("d/a/p2.heic", "?", 1);
    put_file("d/a/p3.webp", JPG, 4);
    put_file("d/a/q.jpg", "", 0);
    put_file("d/a/readme.txt", "x", 1);
    put_file("d/a/README", "BMI and others", 14);
    put_file("d/b/FaceId-0", PNG, 5);
    put_file("d/b/FaceId-1", "GIF89a", 6);
    put_file("d/.hidden/h.jpg", JPG, 4);
    static const struct {
        const char *key;
        lafs_status st;
    } want[] = {
        {"a/o", LAFS_OK},         {"a/p", LAFS_BAD_RECORD}, {"a/p2", LAFS_BAD_RECORD}, {"a/p3", LAFS_OK},
        {"a/q", LAFS_BAD_RECORD}, {"b-c/z", LAFS_OK},       {"b/FaceId-0", LAFS_OK},   {"b/FaceId-1", LAFS_BAD_RECORD},
        {"b/x", LAFS_OK},         {"b/y", LAFS_OK}};
    REQUIRE_OK(lafs_reader_open(&r, (const char *const[]){in_dir("d")}, 1, NULL, &e), &e);
    for (int i = 0; i < 10; i++) {
        CHECK_INT(lafs_reader_next(r, &s, &e), want[i].st);
        CHECK_STR(lafs_sample_key(&s), want[i].key);
        if (want[i].st == LAFS_OK)
            CHECK(lafs_sample_has(&s, "name") && lafs_sample_has(&s, i == 0 || i == 6 ? "png" : "jpg"));
        if (i == 1) CHECK(strstr(e.msg, "a GIF picture"));
        if (i == 2) CHECK(strstr(e.msg, "by its name, one of kind 'heic'"));
    }
    CHECK_INT(lafs_reader_next(r, &s, &e), LAFS_END);
    const char *first;
    CHECK_INT(lafs_reader_ignored(r, &first), 2);
    CHECK(first && strstr(first, "README"));
    lafs_reader_close(r);
    REQUIRE_OK(lafs_reader_open(&r, (const char *const[]){in_dir("d/b")}, 1, NULL, &e), &e);
    REQUIRE_OK(lafs_reader_next(r, &s, &e), &e);
    CHECK_STR(lafs_sample_key(&s), "FaceId-0");
    CHECK(!lafs_sample_has(&s, "name"));
    lafs_reader_close(r);
    REQUIRE_OK(lafs_reader_open(&r, (const char *const[]){in_dir("d/b"), in_dir("d/b-c/")}, 2, NULL, &e), &e);
    REQUIRE_OK(lafs_reader_next(r, &s, &e), &e);
    CHECK_STR(lafs_sample_key(&s), "b/FaceId-0");
    CHECK(lafs_sample_has(&s, "name"));
    lafs_reader_close(r);
    /* A list of the same. */
    char text[512];
    int n = snprintf(text, sizeof text, "%s\r\n\n%s", in_dir("d/b/x.jpg"), in_dir("d/b-c/z.jpg"));
    put_file("list", text, (size_t)n);
    struct lafs_reader_options opt = {.list = in_dir("list")};
    REQUIRE_OK(lafs_reader_open(&r, NULL, 0, &opt, &e), &e);
    REQUIRE_OK(lafs_reader_next(r, &s, &e), &e);
    CHECK_INT(lafs_reader_next(r, &s, &e), LAFS_OK);
    CHECK(strstr(lafs_sample_key(&s), "d/b-c/z") != NULL && lafs_sample_has(&s, "name"));
    CHECK_INT(lafs_reader_next(r, &s, &e), LAFS_END);
    lafs_reader_close(r);
    lafs_sample_release(&s);
}

/* Whether the first photo of the list of these bytes gets a name; -1: there is none. */
static int first_of_list_is_named(const char *text, size_t size)
{
    struct lafs_reader *r;
    struct lafs_sample s;
    put_file("list", text, size);
    struct lafs_reader_options opt = {.list = in_dir("list")};
    if (lafs_reader_open(&r, NULL, 0, &opt, &e) != LAFS_OK) return -1;
    lafs_sample_init(&s);
    int named = lafs_reader_next(r, &s, &e) == LAFS_OK ? lafs_sample_has(&s, "name") : -1;
    lafs_sample_release(&s);
    lafs_reader_close(r);
    return named;
}

TEST(lists_of_one_folder)
{
    struct lafs_buf list;
    char photo[512];
    mkdir(in_dir("one"), 0777);
    put_file("one/x.jpg", JPG, 4);
    snprintf(photo, sizeof photo, "%s", in_dir("one/x.jpg"));
    lafs_buf_init(&list);
    lafs_buf_printf(&list, "\xef\xbb\xbf%s\r\n\r\n%s\n\n", photo, photo);
    CHECK_INT(first_of_list_is_named((const char *)list.data, list.size), 0);
    /* What is looked at first, a mebibyte, may end anywhere in a path. */
    for (int cut = 1; cut < 12; cut += 5) {
        lafs_buf_clear(&list);
        while (list.size < ((size_t)1 << 20) - 1024) lafs_buf_printf(&list, "%s\n", photo);
        while (list.size < ((size_t)1 << 20) - (size_t)cut) lafs_buf_putc(&list, '\n');
        for (int i = 0; i < 200; i++) lafs_buf_printf(&list, "%s\n", photo);
        CHECK_INT(first_of_list_is_named((const char *)list.data, list.size), 0);
    }
    lafs_buf_release(&list);
}

static lafs_status write_keys(const char *out, const char *const *key, int n, lafs_status *verdict)
{
    struct lafs_writer_options opt = {.out = in_dir(out)};
    struct lafs_header h;
    struct lafs_writer *w;
    struct lafs_sample s;
    lafs_header_init(&h);
    lafs_sample_init(&s);
    if (lafs_writer_open(&w, &opt, &h, &e) != LAFS_OK) return LAFS_FAILED;
    for (int i = 0; i < n; i++) {
        lafs_sample_clear(&s);
        lafs_sample_set_str(&s, "key", key[i]);
        verdict[i] = lafs_writer_put(w, &s, &e);
    }
    struct lafs_totals t = {.ok = 1};
    lafs_sample_release(&s);
    lafs_header_release(&h);
    return lafs_writer_close(w, &t, &e);
}

TEST(keys_in_an_index)
{
    int n, bad;
    static const char *const keys[] = {"a%b", "a", "a%b", "a%", "J\xc3\xb6rg/1", "a", "x.y", "a%25b"};
    static const lafs_status want[] = {LAFS_OK, LAFS_OK,         LAFS_BAD_RECORD, LAFS_OK,
                                       LAFS_OK, LAFS_BAD_RECORD, LAFS_BAD_RECORD, LAFS_OK};
    lafs_status got[8];
    /* Names pass in any locale. */
    setlocale(LC_ALL, "C.UTF-8");
    CHECK_INT(write_keys("k.tar", keys, 8, got), LAFS_OK);
    for (int i = 0; i < 8; i++) CHECK_INT(got[i], want[i]);
    struct lafs_buf utf8 = get_file("k.tar");
    setlocale(LC_ALL, "C");
    CHECK_INT(write_keys("k.tar", keys, 8, got), LAFS_OK);
    struct lafs_buf c = get_file("k.tar");
    CHECK(utf8.size == c.size && memcmp(utf8.data, c.data, c.size) == 0);
    lafs_buf_release(&utf8);
    lafs_buf_release(&c);
    struct lafs_index *ix;
    REQUIRE_OK(lafs_index_read(&ix, in_dir("k.lafs"), &e), &e);
    CHECK_INT(ix->samples, 5);
    CHECK_STR(ix->sample[0].key, "a%b");
    CHECK_STR(ix->sample[3].key, "J\xc3\xb6rg/1");
    lafs_index_free(ix);
    CHECK_INT(read_one("k.tar", &n, &bad), LAFS_END);
    CHECK(n == 5 && bad == 0);
    CHECK_INT(read_one("k.lafs", &n, &bad), LAFS_END);
    CHECK(n == 5 && bad == 0);
}

/* An index of one shard of 1024 bytes and these last lines. */
static lafs_status read_index(const char *lines)
{
    struct lafs_index *ix;
    char text[512];
    int n = snprintf(text, sizeof text, "lafs-index 1\npixels\t0\t-\t-\nshard\tx.tar\t1024\t-\n%s", lines);
    put_file("y.lafs", text, (size_t)n);
    lafs_status st = lafs_index_read(&ix, in_dir("y.lafs"), &e);
    if (st == LAFS_OK) lafs_index_free(ix);
    return st;
}

TEST(index_cut_and_damaged)
{
    REQUIRE_OK(write_samples("x-%06d.tar", 0, 5, 20, "arcface5", 2, 1), &e);
    struct lafs_buf b = get_file("x.lafs");
    struct lafs_index *ix;
    for (size_t cut = 0; cut < b.size; cut++) {
        put_file("y.lafs", b.data, cut);
        CHECK_INT(lafs_index_read(&ix, in_dir("y.lafs"), &e), LAFS_CUT);
    }
    struct lafs_rng r;
    lafs_rng_init(&r, lafs_rng_key(3, LAFS_RNG_TEST, 0, 0, 0));
    for (int i = 0; i < 2000; i++) {
        size_t at = (size_t)lafs_rng_below(&r, b.size);
        unsigned char old = b.data[at];
        b.data[at] = (unsigned char)"\t\n%0\0x-"[lafs_rng_below(&r, 7)];
        put_file("y.lafs", b.data, b.size);
        b.data[at] = old;
        if (lafs_index_read(&ix, in_dir("y.lafs"), &e) == LAFS_OK) lafs_index_free(ix);
    }
    lafs_buf_release(&b);
    put_file("y.lafs", "lafs-index 2\nend\t0\t0\n", 21);
    CHECK_INT(lafs_index_read(&ix, in_dir("y.lafs"), &e), LAFS_FAILED);
    /* Lines that are whole, and do not fit together. */
    CHECK_INT(read_index("0\t0\t512\ta\t\n0\t512\t512\tb\t\nend\t1\t2\n"), LAFS_OK);
    CHECK_INT(read_index("0\t0\t512\ta\t\nend\t1\t2\n"), LAFS_CUT);
    CHECK(strstr(e.msg, "1 samples, its closing line says 2") != NULL);
    CHECK_INT(read_index("0\t0\t512\ta\t\n0\t512\t512\ta\t\nend\t1\t2\n"), LAFS_FAILED);
    CHECK(strstr(e.msg, "key 'a' occurs twice") != NULL);
    CHECK_INT(read_index("0\t512\t513\ta\t\nend\t1\t1\n"), LAFS_FAILED); /* ends behind the shard */
    CHECK_INT(read_index("0\t1024\t1\ta\t\nend\t1\t1\n"), LAFS_FAILED);
    CHECK_INT(read_index("1\t0\t512\ta\t\nend\t1\t1\n"), LAFS_FAILED);
    CHECK(strstr(e.msg, "line 4 is damaged") != NULL);
    /* A shard that is not what was indexed. */
    struct lafs_buf t = get_file("x-000000.tar");
    put_file("x-000000.tar", t.data, t.size - 512);
    lafs_buf_release(&t);
    struct lafs_fetch *f;
    struct lafs_sample s;
    lafs_sample_init(&s);
    REQUIRE_OK(lafs_index_read(&ix, in_dir("x.lafs"), &e), &e);
    REQUIRE_OK(lafs_fetch_open(&f, ix, &e), &e);
    CHECK_INT(lafs_fetch_sample(f, 0, &s, &e), LAFS_FAILED);
    CHECK(strstr(e.msg, "changed or cut off") != NULL);
    CHECK_INT(lafs_fetch_sample(f, 4, &s, &e), LAFS_OK);
    lafs_fetch_close(f);
    lafs_index_free(ix);
    lafs_sample_release(&s);
}

TEST(epoch_order_depends_on_keys_alone)
{
    struct lafs_index *a, *b;
    int64_t x[10], y[10], z[10];
    REQUIRE_OK(write_samples("x-%06d.tar", 0, 10, 20, "arcface5", 3, 1), &e);
    REQUIRE_OK(lafs_index_read(&a, in_dir("x.lafs"), &e), &e);
    REQUIRE_OK(lafs_index_read(&b, in_dir("x.lafs"), &e), &e);
    for (int i = 0; i < 5; i++) {
        struct lafs_index_sample t = b->sample[i];
        b->sample[i] = b->sample[9 - i];
        b->sample[9 - i] = t;
    }
    REQUIRE_OK(lafs_epoch_order(a, 1, 0, x, &e), &e);
    REQUIRE_OK(lafs_epoch_order(b, 1, 0, y, &e), &e);
    REQUIRE_OK(lafs_epoch_order(a, 1, 1, z, &e), &e);
    int same = 1, seen = 0;
    for (int i = 0; i < 10; i++) {
        CHECK_STR(a->sample[x[i]].key, b->sample[y[i]].key);
        same &= x[i] == z[i];
        seen |= 1 << x[i];
    }
    CHECK(!same && seen == 1023);
    lafs_index_free(a);
    lafs_index_free(b);
}

/* The tests' main, with a directory of its own around it. */
static int run_tests(void);
#define main(x) run_tests(x)
TEST_MAIN(stream_round_trip, stream_cut_at_every_byte, stream_damage_is_seen, stated_counts_are_summed,
          streams_concatenate, failed_producer, bare_and_bad_records, short_reads, names_in_an_index,
          large_streams, shards_and_index, many_shards, shard_cut_at_every_block_and_more,
          foreign_shards, tars_of_photos, many_photos_of_one_key, too_large_for_a_record, directories,
          lists_of_one_folder, keys_in_an_index,
          index_cut_and_damaged, epoch_order_depends_on_keys_alone)
#undef main

/* For the tests of programs: N small records on stdout, as a stream, or as bare maps. */
static int generate(const char *count, int bare)
{
    struct lafs_sample s;
    struct lafs_header h;
    struct lafs_writer *w = NULL;
    struct lafs_buf b;
    char key[64];
    long n = strtol(count, NULL, 10);
    lafs_sample_init(&s);
    lafs_header_init(&h);
    lafs_buf_init(&b);
    lafs_status st = bare ? LAFS_OK : lafs_writer_open(&w, &(struct lafs_writer_options){0}, &h, &e);
    for (long i = 0; i < n && st == LAFS_OK; i++) {
        lafs_sample_clear(&s);
        int len = snprintf(key, sizeof key, "p%ld/k%ld", i / 20, i);
        lafs_sample_set_str(&s, "key", key);
        lafs_sample_set_bin(&s, "jpg", "\xff\xd8\xff and what a small photo holds", 33);
        lafs_sample_set_strn(&s, "name", key, strcspn(key, "/"));
        lafs_sample_set_int(&s, "number", i + len);
        lafs_buf_clear(&b);
        if (bare) lafs_sample_encode(&s, &b);
        if (bare && fwrite(b.data, 1, b.size, stdout) != b.size) st = LAFS_FAILED;
        if (!bare) st = lafs_writer_put(w, &s, &e);
    }
    if (st == LAFS_OK && !bare) st = lafs_writer_close(w, &(struct lafs_totals){.ok = 1}, &e);
    else lafs_writer_abort(w);
    if (st != LAFS_OK) fprintf(stderr, "generator: %s\n", e.msg);
    lafs_sample_release(&s);
    lafs_header_release(&h);
    lafs_buf_release(&b);
    return fflush(stdout) || st != LAFS_OK;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--stream") == 0) return generate(argv[2], 0);
    if (argc == 3 && strcmp(argv[1], "--bare") == 0) return generate(argv[2], 1);
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%.30s/lafs-stream-%ld", tmp ? tmp : "/tmp", (long)getpid());
    if (mkdir(dir, 0777)) return 1;
    int status = run_tests();
    pid_t child = fork();
    if (child == 0) {
        execlp("rm", "rm", "-rf", dir, (char *)NULL);
        _exit(1);
    }
    waitpid(child, NULL, 0);
    return status;
}
