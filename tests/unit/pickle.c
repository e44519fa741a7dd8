#include "format/pickle.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/test.h"

/* The corpus holds what Python 3.11 and 2.7 wrote. */
#define CORPUS "tests/fuzz/corpus/pickle/"

static const char *const allow[] = {"collections.OrderedDict", "argparse.Namespace", NULL};
static const struct lafs_pickle_options options = {.allow = allow};

static void show(struct lafs_buf *b, const struct lafs_pickle_value *v);

static void show_items(struct lafs_buf *b, const struct lafs_pickle_value *v, int pairs)
{
    for (size_t i = 0; i < v->count; i++) {
        if (i) lafs_buf_puts(b, " ");
        show(b, v->item[pairs ? 2 * i : i]);
        if (pairs) lafs_buf_puts(b, ":");
        if (pairs) show(b, v->item[2 * i + 1]);
    }
}

static void show_call(struct lafs_buf *b, const struct lafs_pickle_value *v)
{
    show(b, v->call->callee);
    show(b, v->call->args);
    if (v->call->kwargs) show(b, v->call->kwargs);
    lafs_buf_puts(b, v->call->listed ? "[" : "{");
    show_items(b, v, !v->call->listed);
    lafs_buf_puts(b, v->call->listed ? "]" : "}");
    if (!v->call->state) return;
    lafs_buf_puts(b, "=");
    show(b, v->call->state);
}

static void show_data(struct lafs_buf *b, const struct lafs_pickle_value *v)
{
    for (size_t i = 0; i < v->size; i++) {
        unsigned char c = (unsigned char)v->data[i];
        lafs_buf_printf(b, c < 0x20 || c > 0x7e ? "%%%02x" : "%c", c);
    }
}

/* One line for a whole tree. */
static void show(struct lafs_buf *b, const struct lafs_pickle_value *v)
{
    switch (v->type) {
    case LAFS_PICKLE_NONE: lafs_buf_puts(b, "None"); break;
    case LAFS_PICKLE_BOOL: lafs_buf_puts(b, v->i ? "True" : "False"); break;
    case LAFS_PICKLE_INT: lafs_buf_printf(b, "%lld", (long long)v->i); break;
    case LAFS_PICKLE_FLOAT: lafs_buf_printf(b, "%.17gf", v->f); break;
    case LAFS_PICKLE_LONG: lafs_buf_puts(b, "L"); show_data(b, v); break;
    case LAFS_PICKLE_STR: lafs_buf_puts(b, "'"); show_data(b, v); lafs_buf_puts(b, "'"); break;
    case LAFS_PICKLE_BYTES:
        lafs_buf_puts(b, v->py2 ? "s\"" : "\"");
        show_data(b, v);
        lafs_buf_puts(b, "\"");
        break;
    case LAFS_PICKLE_TUPLE: lafs_buf_puts(b, "("); show_items(b, v, 0); lafs_buf_puts(b, ")"); break;
    case LAFS_PICKLE_LIST: lafs_buf_puts(b, "["); show_items(b, v, 0); lafs_buf_puts(b, "]"); break;
    case LAFS_PICKLE_SET: lafs_buf_puts(b, "<"); show_items(b, v, 0); lafs_buf_puts(b, ">"); break;
    case LAFS_PICKLE_DICT: lafs_buf_puts(b, "{"); show_items(b, v, 1); lafs_buf_puts(b, "}"); break;
    case LAFS_PICKLE_GLOBAL: lafs_buf_puts(b, v->name); break;
    case LAFS_PICKLE_CALL: show_call(b, v); break;
    case LAFS_PICKLE_PERSID: lafs_buf_puts(b, "@"); show(b, v->persistent); break;
    }
}

/* Into *text: the tree, or the message. */
static lafs_status parse(const void *data, size_t size, struct lafs_buf *text)
{
    struct lafs_pickle *p;
    struct lafs_err err = {0};
    lafs_buf_clear(text);
    lafs_status st = lafs_pickle_parse(&p, data, size, &options, &err);
    if (st == LAFS_OK) show(text, p->root);
    else lafs_buf_puts(text, err.msg);
    lafs_pickle_free(p);
    return st;
}

#define CHECK_PARSE(bytes, want_st, want)                                        \
    do {                                                                         \
        CHECK_INT(parse(bytes, sizeof bytes - 1, &text), want_st);               \
        CHECK_STR(lafs_buf_str(&text), want);                                    \
    } while (0)

static void check_file(const char *name, lafs_status want_st, const char *want)
{
    struct lafs_buf b, text;
    struct lafs_err err;
    char path[256];
    lafs_buf_init(&b);
    lafs_buf_init(&text);
    snprintf(path, sizeof path, CORPUS "%s", name);
    if (lafs_buf_read_file(&b, path, 1 << 20, &err) != LAFS_OK) FAIL_("%s", err.msg);
    lafs_status st = parse(b.data, b.size, &text);
    const char *got = lafs_buf_str(&text);
    if (st != want_st || strcmp(got, want)) FAIL_("%s: status %d: %s\n   not status %d: %s", name, st, got, want_st, want);
    lafs_buf_release(&b);
    lafs_buf_release(&text);
}

/* What py2-* and py3-* hold; Python 2 writes its str another way, and makes an OrderedDict another way. */
static const char *expected(const char *py2, const char *dict)
{
    static char want[1024];
    snprintf(want, sizeof want, "[('a' [1 -2 300 70000 -3000000000 True False None 1.5f -0.10000000000000001f inff]) "
             "('big' 5) ('bytes' %s\"%%00%%ff%%c3%%a9'%%0a\\\") ('empty' %s\"\") ('od' collections.OrderedDict%s) "
             "('shared' [[1] [1]]) ('t' (() (1) (1 2) (1 2 3) (1 2 3 4))) "
             "('text' 'h%%c3%%a9%%0a\\%%e2%%82%%ac%%f0%%9f%%98%%80')]", py2, py2, dict);
    return want;
}

TEST(every_protocol_of_python3)
{
    char name[16];
    for (int p = 0; p <= 5; p++) {
        snprintf(name, sizeof name, "py3-%d", p);
        check_file(name, LAFS_OK, expected("", "(){'x':1 'y':(2)}"));
    }
    check_file("sets-4", LAFS_OK, "[<1> <2> \"ab\"]");
    check_file("sets-5", LAFS_OK, "[<1> <2> \"ab\"]");
    check_file("bytearray-2", LAFS_OK, "[\"a%ff\" \"\"]");
    check_file("long-2", LAFS_OK, "L%00%00%00%00%00%00%00%00@");
    check_file("namespace-2", LAFS_OK, "argparse.Namespace(){}={'lr':0.10000000000000001f 'name':'b'}");
    check_file("namespace-4", LAFS_OK, "argparse.Namespace(){}={'lr':0.10000000000000001f 'name':'b'}");
}

TEST(every_protocol_of_python2)
{
    char name[16];
    for (int p = 0; p <= 2; p++) {
        snprintf(name, sizeof name, "py2-%d", p);
        check_file(name, LAFS_OK, expected("s", "([['x' 1] ['y' (2)]]){}"));
    }
}

TEST(refuses_by_name)
{
    check_file("bomb-0", LAFS_FAILED, "refused: it calls for posix.system");
    check_file("bomb-2", LAFS_FAILED, "refused: it calls for posix.system");
    check_file("bomb-4", LAFS_FAILED, "refused: it calls for posix.system");
    check_file("bomb-lines", LAFS_FAILED, "refused: it calls for posix.system");
    check_file("bomb-inst", LAFS_FAILED, "refused: it calls for posix.system");
    check_file("bomb-inst2", LAFS_FAILED, "refused: it calls for os.system");
    check_file("ext", LAFS_FAILED, "refused: it calls for something in the writer's extension registry");
    struct lafs_buf text;
    lafs_buf_init(&text);
    CHECK_PARSE("c__builtin__\neval\n.", LAFS_FAILED, "refused: it calls for __builtin__.eval");
    CHECK_PARSE("cbuiltins\n\x1b[2Jx\n.", LAFS_FAILED, "refused: it calls for builtins.?[2Jx");
    CHECK_PARSE("c_codecs\nencode\n(VA\nVrot13\ntR.", LAFS_FAILED,
                "refused: it calls _codecs.encode for something else than bytes");
    CHECK_PARSE("c_codecs\nencode\n(V\\u0100\nVlatin1\ntR.", LAFS_FAILED,
                "broken pickle at byte 35: bytes written as text that is not latin-1");
    CHECK_PARSE("\x80\x05\x97.", LAFS_FAILED, "refused: its data lie in buffers outside the pickle");
    CHECK_PARSE("\x80\x06.", LAFS_FAILED, "a pickle of protocol 6: 0 to 5 are known");
    lafs_buf_release(&text);
}

TEST(objects_of_old)
{
    check_file("inst-old", LAFS_OK, "argparse.Namespace(s\"a\" 1){}");
    check_file("obj", LAFS_OK, "argparse.Namespace(1){}={s\"x\":2}");
    check_file("persid", LAFS_OK, "(@'storage 1' @'a')");
    check_file("pop-mark", LAFS_OK, "None");
}

TEST(bounds)
{
    check_file("itself", LAFS_FAILED, "a pickle with a value within itself");
    check_file("deep", LAFS_FAILED, "a pickle nested deeper than 64");
    check_file("laughs", LAFS_FAILED, "a pickle whose values repeat each other without end");
    check_file("claims", LAFS_CUT, "the pickle is cut off after 15 bytes");
    check_file("frame", LAFS_CUT, "the pickle is cut off after 13 bytes");
    check_file("memo", LAFS_FAILED, "broken pickle at byte 8: a memo larger than what was read");
    check_file("left-over", LAFS_FAILED, "broken pickle at byte 3: it ends with values left over");
    struct lafs_pickle *p;
    struct lafs_err err = {0};
    struct lafs_pickle_options few = {.max_steps = 3};
    CHECK_INT(lafs_pickle_parse(&p, "NNN0.", 5, &few, &err), LAFS_FAILED);
    CHECK_STR(err.msg, "a pickle of more than 3 instructions");
    CHECK(p == NULL);
    for (int depth = LAFS_PICKLE_MAX_DEPTH; depth <= LAFS_PICKLE_MAX_DEPTH + 1; depth++) {
        char nested[2 * LAFS_PICKLE_MAX_DEPTH + 4] = {0};
        memset(nested, '(', (size_t)depth);
        memset(nested + depth, 'l', (size_t)depth);
        nested[2 * depth] = '.';
        CHECK_INT(lafs_pickle_parse(&p, nested, 2 * (size_t)depth + 1, NULL, &err),
                  depth <= LAFS_PICKLE_MAX_DEPTH ? LAFS_OK : LAFS_FAILED);
        lafs_pickle_free(p);
    }
}

TEST(broken)
{
    struct lafs_buf text;
    lafs_buf_init(&text);
    CHECK_PARSE("", LAFS_CUT, "the pickle is cut off after 0 bytes");
    CHECK_PARSE("(I1\n", LAFS_CUT, "the pickle is cut off after 4 bytes");
    CHECK_PARSE(".", LAFS_FAILED, "broken pickle at byte 1: nothing on its stack");
    CHECK_PARSE("(.", LAFS_FAILED, "broken pickle at byte 2: nothing on its stack");
    CHECK_PARSE("N(0\x85.", LAFS_OK, "(None)");
    CHECK_PARSE("N(\x85.", LAFS_FAILED, "broken pickle at byte 3: nothing on its stack");
    CHECK_PARSE("(Nd.", LAFS_FAILED, "broken pickle at byte 3: a key without its value");
    CHECK_PARSE("}(Nu.", LAFS_FAILED, "broken pickle at byte 4: a key without its value");
    CHECK_PARSE("NNa.", LAFS_FAILED, "broken pickle at byte 3: items appended to no list");
    CHECK_PARSE("]NNs.", LAFS_FAILED, "broken pickle at byte 4: pairs set in no dictionary");
    CHECK_PARSE("N}b.", LAFS_FAILED, "broken pickle at byte 3: a state for what is no object");
    CHECK_PARSE("N)R.", LAFS_FAILED, "broken pickle at byte 3: a call of what is no global");
    CHECK_PARSE("h\x05.", LAFS_FAILED, "broken pickle at byte 2: a reference to nothing");
    CHECK_PARSE("S'a\n.", LAFS_FAILED, "broken pickle at byte 4: a string that Python would write otherwise");
    CHECK_PARSE("S'a\\q'\n.", LAFS_FAILED, "broken pickle at byte 7: a string that Python would write otherwise");
    CHECK_PARSE("V\\u12\n.", LAFS_FAILED, "broken pickle at byte 6: a string that Python would write otherwise");
    CHECK_PARSE("V\\ud800x\n.", LAFS_FAILED, "broken pickle at byte 9: a string that Python would write otherwise");
    CHECK_PARSE("X\x01\0\0\0\xff.", LAFS_FAILED, "broken pickle at byte 6: text that is no UTF-8");
    CHECK_PARSE("I1x\n.", LAFS_FAILED, "broken pickle at byte 4: no number, or one beyond 64 bits");
    CHECK_PARSE("F1,5\n.", LAFS_FAILED, "broken pickle at byte 5: no number");
    CHECK_PARSE("\xff", LAFS_FAILED, "no pickle: byte 0xff at 0 is no instruction");
    CHECK_PARSE("\x80\x02\x8a\x02\xff\xff.", LAFS_OK, "-1");
    CHECK_PARSE("\x80\x02\x8a\x02\xff\x00.", LAFS_OK, "255");
    CHECK_PARSE("\x80\x02\x8a\x00.", LAFS_OK, "0");
    CHECK_PARSE("\x80\x02\x8b\x02\0\0\0\xff\x00.", LAFS_OK, "255");
    CHECK_PARSE("Nq\0j\0\0\0\0\x86.", LAFS_OK, "(None None)");
    CHECK_PARSE("T\x01\0\0\0a.", LAFS_OK, "s\"a\"");
    CHECK_PARSE("S'\\101\\7'\n.", LAFS_OK, "s\"A%07\"");
    CHECK_PARSE("S'\\400'\n.", LAFS_FAILED, "broken pickle at byte 8: a string that Python would write otherwise");
    CHECK_PARSE("V\\u07ff\\u0800\\U00010000\\U0010ffff\n.", LAFS_OK,
                "'%df%bf%e0%a0%80%f0%90%80%80%f4%8f%bf%bf'");
    CHECK_PARSE("V\\U00110000\n.", LAFS_FAILED, "broken pickle at byte 12: a string that Python would write otherwise");
    CHECK_PARSE("P\xff\n.", LAFS_FAILED, "broken pickle at byte 3: text that is no UTF-8");
    CHECK_PARSE("V\\ud83d\\ude00\xe9\\x\n.", LAFS_OK, "'%f0%9f%98%80%c3%a9\\x'");
    CHECK_PARSE("ccollections\nOrderedDict\n)R(NNe.", LAFS_OK, "collections.OrderedDict()[None None]");
    CHECK_PARSE("ccollections\nOrderedDict\n)R(NNeNNs.", LAFS_FAILED,
                "broken pickle at byte 34: pairs set in no dictionary");
    lafs_buf_release(&text);
}

/* Wherever it is cut, it is cut off: no shorter pickle is whole, and none is broken. */
TEST(cut_anywhere)
{
    static const char *const name[] = {CORPUS "py2-1", CORPUS "py3-0", CORPUS "py3-2", CORPUS "py3-4"};
    for (int i = 0; i < 4; i++) {
        struct lafs_buf b, text;
        struct lafs_err err;
        lafs_buf_init(&b);
        lafs_buf_init(&text);
        REQUIRE_OK(lafs_buf_read_file(&b, name[i], 1 << 20, &err), &err);
        for (size_t n = 0; n < b.size; n++) {
            char *exact = malloc(n + !n);
            memcpy(exact, b.data, n);
            if (parse(exact, n, &text) != LAFS_CUT) FAIL_("%s cut at %zu: %s", name[i], n, lafs_buf_str(&text));
            free(exact);
        }
        lafs_buf_release(&b);
        lafs_buf_release(&text);
    }
}

/* Whether it parses, to whatever end, in the memory that is promised for so many steps; in a process of its own. */
static int fits(const struct lafs_buf *b, size_t steps)
{
    struct lafs_pickle_options opt = {.allow = allow, .max_steps = steps};
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct lafs_pickle *p;
        struct lafs_err err = {0};
        unsigned long pages = 0;
        FILE *f = fopen("/proc/self/statm", "r");
        if (!f || fscanf(f, "%lu", &pages) != 1) _exit(2);
        fclose(f);
        rlim_t most = pages * (rlim_t)sysconf(_SC_PAGESIZE) + LAFS_PICKLE_MEMORY(b->size, steps);
        if (setrlimit(RLIMIT_AS, &(struct rlimit){most, most})) _exit(2);
        lafs_pickle_parse(&p, b->data, b->size, &opt, &err);
        _exit(strstr(err.msg, "out of memory") != NULL);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status == 0;
}

static void repeat(struct lafs_buf *b, const void *data, size_t size, size_t times)
{
    for (; times > 0; times--) lafs_buf_put(b, data, size);
}

/* What costs most memory for an instruction, or for a byte: each alone, and then the largest memo. */
TEST(memory)
{
#ifdef LAFS_SAN
    return; /* which takes address space for itself */
#endif
#define PART(text) text, sizeof text - 1
    static const struct {
        const char *what, *first;
        size_t first_size;
        const char *again;
        size_t size, steps; /* of the part that is repeated */
    } bomb[] = {
        {"lists", PART(""), PART("]"), 1},
        {"marks", PART(""), PART("("), 1},
        {"objects by name", PART(""), PART("(icollections\nOrderedDict\n"), 2},
        {"objects by class", PART("ccollections\nOrderedDict\nq\0"), PART("(h\0o"), 3},
        {"calls", PART("ccollections\nOrderedDict\nq\0"), PART("h\0)R"), 3},
        {"globals", PART("\x80\4" "\x8c\x0b" "collectionsq\0\x8c\x0b" "OrderedDictq\1"), PART("h\0h\1\x93"), 3},
        {"a list that grows", PART("]q\0"), PART("h\0a"), 2},
        {"a dictionary that grows", PART("}q\0"), PART("h\0h\0s"), 3},
        {"tuples", PART(""), PART("NNN\x87"), 4},
        {"texts", PART(""), PART("V\n"), 1},
        {"many in the memo", PART("N"), PART("\x94"), 1},
    };
    struct lafs_buf b;
    lafs_buf_init(&b);
    for (size_t i = 0; i < sizeof bomb / sizeof *bomb; i++) {
        size_t steps = 1 << 18, times = (steps - 16) / bomb[i].steps;
        size_t at = times * bomb[i].steps;
        lafs_buf_clear(&b);
        lafs_buf_put(&b, bomb[i].first, bomb[i].first_size);
        repeat(&b, bomb[i].again, bomb[i].size, times);
        lafs_buf_puts(&b, "Nr");
        for (int k = 0; k < 4; k++) lafs_buf_putc(&b, (int)(at >> 8 * k & 255));
        if (!fits(&b, steps)) FAIL_("%s: more memory than promised", bomb[i].what);
    }
    /* A number for the memo that is far larger than what was read. */
    lafs_buf_clear(&b);
    repeat(&b, "\x8c\xff", 2, 1);
    repeat(&b, "x", 1, 255);
    repeat(&b, "B\0\0\x20\0", 5, 1);
    repeat(&b, "x", 1, 1 << 21);
    lafs_buf_put(&b, "r\xff\xff\x1f\0.", 6);
    CHECK(fits(&b, 1000));
    /* One text that is decoded again and again. */
    lafs_buf_clear(&b);
    lafs_buf_puts(&b, "c_codecs\nencode\n");
    lafs_buf_put(&b, PART("q\0V"));
    repeat(&b, "x", 1, 1 << 16);
    lafs_buf_put(&b, PART("\nq\1Vlatin1\nq\2"));
    repeat(&b, PART("h\0h\1h\2\x86R"), 20000);
    CHECK(fits(&b, 1 << 17));
    struct lafs_buf text;
    lafs_buf_init(&text);
    CHECK_INT(parse(b.data, b.size, &text), LAFS_FAILED);
    CHECK(strstr(lafs_buf_str(&text), "bytes written as text, of which it repeats too much") != NULL);
    /* Python 3's bytes of protocol 0, all of which are above 0x7f: two bytes of UTF-8 for one of the pickle. */
    lafs_buf_clear(&b);
    lafs_buf_put(&b, PART("c_codecs\nencode\n(V"));
    repeat(&b, "\xff", 1, 1 << 16);
    lafs_buf_put(&b, PART("\nVlatin1\ntR."));
    CHECK_INT(parse(b.data, b.size, &text), LAFS_OK);
    lafs_buf_release(&text);
    lafs_buf_release(&b);
#undef PART
}

TEST(questions)
{
    static const char data[] = "\x80\x02}(U\x01" "aK\x01X\x01\0\0\0aK\x02U\x01xccollections\nOrderedDict\n)Ru.more";
    struct lafs_pickle *p;
    struct lafs_err err = {0};
    char buf[LAFS_PICKLE_KIND];
    REQUIRE_OK(lafs_pickle_parse(&p, data, sizeof data - 1, &options, &err), &err);
    CHECK_INT(p->used, sizeof data - 1 - 4);
    CHECK_INT(p->protocol, 2);
    const struct lafs_pickle_value *v = lafs_pickle_get(p->root, "x");
    REQUIRE(lafs_pickle_get(p->root, "a") && v);
    CHECK_INT(lafs_pickle_get(p->root, "a")->i, 2); /* the last */
    CHECK(lafs_pickle_names(v, "collections.OrderedDict") && !lafs_pickle_names(p->root, "collections.OrderedDict"));
    CHECK(!lafs_pickle_get(v, "x") && !lafs_pickle_get(NULL, "x") && !lafs_pickle_get(p->root->item[1], "x"));
    CHECK_STR(lafs_pickle_kind(v, buf), "a call of collections.OrderedDict");
    CHECK_STR(lafs_pickle_kind(p->root, buf), "a dictionary");
    CHECK_STR(lafs_pickle_kind(NULL, buf), "nothing");
    CHECK(lafs_pickle_is(p->root->item[0], "a") && !lafs_pickle_is(p->root->item[0], "ab"));
    lafs_pickle_free(p);
    CHECK(lafs_pickle_begins("\x80\x04", 2) && lafs_pickle_begins("(lp0\n", 5) && lafs_pickle_begins("]q\0", 3));
    CHECK(!lafs_pickle_begins("\x80\x01", 2) && !lafs_pickle_begins("\xff\xd8", 2) && !lafs_pickle_begins("(\0", 2));
    lafs_pickle_free(NULL);
}

TEST_MAIN(every_protocol_of_python3, every_protocol_of_python2, refuses_by_name, objects_of_old, bounds, broken,
          cut_anywhere, memory, questions)
