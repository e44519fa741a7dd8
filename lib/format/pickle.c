/* The machine of pickletools.py's comments: a stack, marks in it, a memo. Where Python would call, a CALL is pushed. */
#include "format/pickle.h"

#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "format/pickletext.h"

/* Python's letters for protocols 0 and 1; from PROTO on 2, BINBYTES 3, SHORT_BINUNICODE on 4, BYTEARRAY8 on 5. */
enum op {
    OP_MARK = '(', OP_STOP = '.', OP_POP = '0', OP_POP_MARK = '1', OP_DUP = '2', OP_FLOAT = 'F', OP_INT = 'I',
    OP_BININT = 'J', OP_BININT1 = 'K', OP_LONG = 'L', OP_BININT2 = 'M', OP_NONE = 'N', OP_PERSID = 'P',
    OP_BINPERSID = 'Q', OP_REDUCE = 'R', OP_STRING = 'S', OP_BINSTRING = 'T', OP_SHORT_BINSTRING = 'U',
    OP_UNICODE = 'V', OP_BINUNICODE = 'X', OP_APPEND = 'a', OP_BUILD = 'b', OP_GLOBAL = 'c', OP_DICT = 'd',
    OP_EMPTY_DICT = '}', OP_APPENDS = 'e', OP_GET = 'g', OP_BINGET = 'h', OP_INST = 'i', OP_LONG_BINGET = 'j',
    OP_LIST = 'l', OP_EMPTY_LIST = ']', OP_OBJ = 'o', OP_PUT = 'p', OP_BINPUT = 'q', OP_LONG_BINPUT = 'r',
    OP_SETITEM = 's', OP_TUPLE = 't', OP_EMPTY_TUPLE = ')', OP_SETITEMS = 'u', OP_BINFLOAT = 'G',
    OP_PROTO = 0x80, OP_NEWOBJ, OP_EXT1, OP_EXT2, OP_EXT4, OP_TUPLE1, OP_TUPLE2, OP_TUPLE3, OP_NEWTRUE, OP_NEWFALSE,
    OP_LONG1, OP_LONG4,
    OP_BINBYTES = 'B', OP_SHORT_BINBYTES = 'C',
    OP_SHORT_BINUNICODE = 0x8c, OP_BINUNICODE8, OP_BINBYTES8, OP_EMPTY_SET, OP_ADDITEMS, OP_FROZENSET, OP_NEWOBJ_EX,
    OP_STACK_GLOBAL, OP_MEMOIZE, OP_FRAME,
    OP_BYTEARRAY8, OP_NEXT_BUFFER, OP_READONLY_BUFFER
};

enum { CHUNK = 64 << 10, MAX_NAME = 512, MAX_NUMBER = 64 };
enum { OPEN = -1 }; /* height of a value whose items are being looked at */

struct chunk {
    struct chunk *next;
};
#define CHUNK_HEAD ((size_t)64)

/* A value and what only the reader needs. */
struct node {
    struct lafs_pickle_value v; /* first: a pointer to one is a pointer to the other */
    size_t cap;                 /* items that there is room for */
    int height;                 /* 0: not looked at; 1: without items */
    uint32_t tree;              /* values that a walk from here meets, itself included */
};

struct machine {
    const unsigned char *data;
    size_t size, at;
    const struct lafs_pickle_options *opt;
    size_t steps;
    struct node **stack; /* (stack_cap) */
    size_t top, stack_cap;
    size_t *mark;        /* (mark_cap) heights of the stack */
    size_t marks, mark_cap;
    struct node **memo;  /* (memo_cap) NULL: not there */
    size_t memo_cap, memoized;
    struct node **global; /* (allowed, then known) the node of each that was named, or NULL */
    struct node **persid; /* (persid_cap) */
    size_t persids, persid_cap;
    size_t decoded;      /* bytes that were written as text, all together */
    struct chunk *chunk; /* all memory of the values; the first is being filled */
    size_t chunk_at, chunk_size;
    struct node *root;
    int protocol;
    struct lafs_err *err;
};

static lafs_status broken(struct machine *m, const char *what)
{
    return lafs_fail(m->err, LAFS_FAILED, "broken pickle at byte %zu: %s", m->at, what);
}

static lafs_status cut(struct machine *m)
{
    return lafs_fail(m->err, LAFS_CUT, "the pickle is cut off after %zu bytes", m->size);
}

/* ---- memory ---- */

/* n bytes for as long as the pickle lives, aligned to 16. */
static lafs_status take(struct machine *m, size_t n, void *out)
{
    n = (n + 15) / 16 * 16;
    if (!m->chunk || n > m->chunk_size - m->chunk_at) {
        struct chunk *c;
        size_t size = n > CHUNK / 4 ? n : CHUNK;
        LAFS_TRY(lafs_alloc(&c, 1, CHUNK_HEAD + size, m->err));
        if (size == CHUNK || !m->chunk) {
            c->next = m->chunk;
            m->chunk = c;
            m->chunk_at = 0;
            m->chunk_size = size;
        } else { /* one of its own, behind the one that is being filled */
            c->next = m->chunk->next;
            m->chunk->next = c;
            *(void **)out = (char *)c + CHUNK_HEAD;
            return LAFS_OK;
        }
    }
    *(void **)out = (char *)m->chunk + CHUNK_HEAD + m->chunk_at;
    m->chunk_at += n;
    return LAFS_OK;
}

static void free_chunks(struct chunk *c)
{
    for (struct chunk *next; c; c = next) {
        next = c->next;
        lafs_free(c);
    }
}

static lafs_status room(struct machine *m, void *array, size_t count, size_t *cap, size_t item)
{
    if (count < *cap) return LAFS_OK;
    size_t fresh = *cap ? 2 * *cap : 64;
    LAFS_TRY(lafs_resize(array, count, fresh, item, m->err));
    *cap = fresh;
    return LAFS_OK;
}

/* ---- the stack ---- */

static size_t floor_of(const struct machine *m) { return m->marks ? m->mark[m->marks - 1] : 0; }

static lafs_status push(struct machine *m, struct node *n)
{
    LAFS_TRY(room(m, &m->stack, m->top, &m->stack_cap, sizeof *m->stack));
    m->stack[m->top++] = n;
    return LAFS_OK;
}

/* Nothing is taken from below a mark. */
static lafs_status pop(struct machine *m, struct node **n)
{
    if (m->top <= floor_of(m)) return broken(m, "nothing on its stack");
    *n = m->stack[--m->top];
    return LAFS_OK;
}

static lafs_status peek(struct machine *m, struct node **n)
{
    LAFS_TRY(pop(m, n));
    m->top++;
    return LAFS_OK;
}

/* The values above the last mark, which goes. */
static lafs_status pop_mark(struct machine *m, struct node ***items, size_t *count)
{
    if (m->marks == 0) return broken(m, "no mark on its stack");
    size_t from = m->mark[--m->marks];
    *items = m->stack + from;
    *count = m->top - from;
    m->top = from;
    return LAFS_OK;
}

static lafs_status new_node(struct machine *m, enum lafs_pickle_type type, struct node **n)
{
    LAFS_TRY(take(m, sizeof **n, n));
    memset(*n, 0, sizeof **n);
    (*n)->v.type = type;
    return LAFS_OK;
}

static lafs_status push_new(struct machine *m, enum lafs_pickle_type type, struct node **n)
{
    LAFS_TRY(new_node(m, type, n));
    return push(m, *n);
}

static lafs_status push_int(struct machine *m, enum lafs_pickle_type type, int64_t i)
{
    struct node *n = NULL;
    LAFS_TRY(push_new(m, type, &n));
    n->v.i = i;
    return LAFS_OK;
}

static lafs_status push_float(struct machine *m, double f)
{
    struct node *n = NULL;
    LAFS_TRY(push_new(m, LAFS_PICKLE_FLOAT, &n));
    n->v.f = f;
    return LAFS_OK;
}

static lafs_status push_data(struct machine *m, enum lafs_pickle_type type, const void *data, size_t size)
{
    struct node *n = NULL;
    LAFS_TRY(push_new(m, type, &n));
    n->v.data = data;
    n->v.size = size;
    return LAFS_OK;
}

/* ---- containers ---- */

static int is_paired(const struct lafs_pickle_value *v)
{
    return v->type == LAFS_PICKLE_DICT || (v->type == LAFS_PICKLE_CALL && !v->call->listed);
}

static size_t items_of(const struct lafs_pickle_value *v)
{
    if (is_paired(v)) return 2 * v->count;
    int has = v->type == LAFS_PICKLE_TUPLE || v->type == LAFS_PICKLE_LIST || v->type == LAFS_PICKLE_SET ||
              v->type == LAFS_PICKLE_CALL;
    return has ? v->count : 0;
}

static lafs_status add_items(struct machine *m, struct node *to, struct node *const *items, size_t count)
{
    const struct lafs_pickle_value **have = (const struct lafs_pickle_value **)to->v.item;
    size_t used = items_of(&to->v);
    if (count > to->cap - used) {
        const struct lafs_pickle_value **fresh;
        size_t cap = used + count > 2 * to->cap ? used + count : 2 * to->cap;
        LAFS_TRY(take(m, cap * sizeof *fresh, &fresh));
        if (used) memcpy(fresh, have, used * sizeof *fresh);
        to->cap = cap;
        to->v.item = have = fresh;
    }
    for (size_t i = 0; i < count; i++) have[used + i] = &items[i]->v;
    to->v.count += is_paired(&to->v) ? count / 2 : count;
    return LAFS_OK;
}

static lafs_status push_container(struct machine *m, enum lafs_pickle_type type, struct node *const *items,
                                  size_t count)
{
    struct node *n = NULL;
    if (type == LAFS_PICKLE_DICT && count % 2) return broken(m, "a key without its value");
    LAFS_TRY(new_node(m, type, &n));
    if (count) LAFS_TRY(add_items(m, n, items, count)); /* items lie on the stack: before it is pushed */
    return push(m, n);
}

/* TUPLE, LIST, DICT, FROZENSET: of everything above the mark. */
static lafs_status push_marked(struct machine *m, enum lafs_pickle_type type)
{
    struct node **items = NULL;
    size_t count = 0;
    LAFS_TRY(pop_mark(m, &items, &count));
    return push_container(m, type, items, count);
}

static lafs_status push_tuple(struct machine *m, size_t count)
{
    if (m->top - floor_of(m) < count) return broken(m, "nothing on its stack");
    m->top -= count;
    return push_container(m, LAFS_PICKLE_TUPLE, m->stack + m->top, count);
}

/* A CALL takes pairs or items, whichever came first. */
static int takes(struct node *to, int pairs)
{
    if (to->v.type == LAFS_PICKLE_CALL) {
        struct lafs_pickle_call *call = (struct lafs_pickle_call *)to->v.call;
        if (to->v.count == 0) call->listed = !pairs;
        return call->listed == !pairs;
    }
    if (pairs) return to->v.type == LAFS_PICKLE_DICT;
    return to->v.type == LAFS_PICKLE_LIST || to->v.type == LAFS_PICKLE_SET;
}

static lafs_status extend(struct machine *m, struct node *const *items, size_t count, int pairs)
{
    struct node *to = NULL;
    LAFS_TRY(peek(m, &to));
    if (pairs && count % 2) return broken(m, "a key without its value");
    if (!takes(to, pairs)) return broken(m, pairs ? "pairs set in no dictionary" : "items appended to no list");
    return count ? add_items(m, to, items, count) : LAFS_OK;
}

static lafs_status extend_marked(struct machine *m, int pairs)
{
    struct node **items = NULL;
    size_t count = 0;
    LAFS_TRY(pop_mark(m, &items, &count));
    return extend(m, items, count, pairs);
}

static lafs_status extend_by(struct machine *m, size_t count, int pairs)
{
    if (m->top - floor_of(m) < count) return broken(m, "nothing on its stack");
    m->top -= count;
    return extend(m, m->stack + m->top, count, pairs);
}

/* ---- the bytes ---- */

static lafs_status bytes(struct machine *m, size_t n, const unsigned char **p)
{
    if (n > m->size - m->at) return cut(m);
    *p = m->data + m->at;
    m->at += n;
    return LAFS_OK;
}

/* A little-endian number of n bytes; more than can be there is cut off, so it fits a size_t. */
static lafs_status number(struct machine *m, int n, uint64_t *v)
{
    const unsigned char *p = NULL;
    LAFS_TRY(bytes(m, (size_t)n, &p));
    *v = 0;
    for (int i = n; i-- > 0;) *v = *v << 8 | p[i];
    return LAFS_OK;
}

/* Up to the next '\n', which is taken, too. */
static lafs_status line(struct machine *m, const char **p, size_t *len)
{
    const unsigned char *end = memchr(m->data + m->at, '\n', m->size - m->at);
    if (!end) return cut(m);
    *p = (const char *)m->data + m->at;
    *len = (size_t)(end - (m->data + m->at));
    m->at += *len + 1;
    return LAFS_OK;
}

/* A count of `width` bytes, then so many bytes. */
static lafs_status counted(struct machine *m, int width, enum lafs_pickle_type type, int py2)
{
    uint64_t n = 0;
    const unsigned char *p = NULL;
    LAFS_TRY(number(m, width, &n));
    if (n > m->size - m->at) return cut(m);
    LAFS_TRY(bytes(m, (size_t)n, &p));
    if (type == LAFS_PICKLE_STR && !lafs_pickle_valid_utf8((const char *)p, (size_t)n))
        return broken(m, "text that is no UTF-8");
    LAFS_TRY(push_data(m, type, p, (size_t)n));
    m->stack[m->top - 1]->v.py2 = py2;
    return LAFS_OK;
}

/* ---- numbers ---- */

/* The line as a C string. */
static lafs_status number_line(struct machine *m, char text[MAX_NUMBER])
{
    const char *p = NULL;
    size_t len = 0;
    LAFS_TRY(line(m, &p, &len));
    if (len == 0 || len >= MAX_NUMBER || memchr(p, 0, len)) return broken(m, "no number");
    memcpy(text, p, len);
    text[len] = 0;
    return LAFS_OK;
}

static lafs_status int_line(struct machine *m, int is_long)
{
    char text[MAX_NUMBER];
    int64_t v;
    LAFS_TRY(number_line(m, text));
    size_t len = strlen(text);
    if (!is_long && (!strcmp(text, "00") || !strcmp(text, "01")))
        return push_int(m, LAFS_PICKLE_BOOL, text[1] == '1');
    if (is_long && text[len - 1] == 'L') text[len - 1] = 0;
    if (!lafs_parse_int(text, &v)) return broken(m, "no number, or one beyond 64 bits");
    return push_int(m, LAFS_PICKLE_INT, v);
}

static lafs_status float_line(struct machine *m)
{
    char text[MAX_NUMBER];
    double v;
    LAFS_TRY(number_line(m, text));
    if (!strcmp(text, "nan")) v = __builtin_nan("");
    else if (!strcmp(text, "inf")) v = __builtin_inf();
    else if (!strcmp(text, "-inf")) v = -__builtin_inf();
    else if (!lafs_parse_double(text, &v)) return broken(m, "no number");
    return push_float(m, v);
}

/* Eight bytes, the highest first. */
static lafs_status binary_float(struct machine *m)
{
    uint64_t u = 0;
    double v;
    LAFS_TRY(number(m, 8, &u));
    u = __builtin_bswap64(u);
    memcpy(&v, &u, sizeof v);
    return push_float(m, v);
}

static lafs_status long_bytes(struct machine *m, int width)
{
    uint64_t n, v = 0;
    const unsigned char *p = NULL;
    LAFS_TRY(number(m, width, &n));
    if (n > m->size - m->at) return cut(m);
    LAFS_TRY(bytes(m, (size_t)n, &p));
    if (n > 8) return push_data(m, LAFS_PICKLE_LONG, p, (size_t)n);
    for (size_t i = 0; i < 8; i++) {
        unsigned char fill = n && p[n - 1] & 0x80 ? 0xff : 0;
        v |= (uint64_t)(i < n ? p[i] : fill) << 8 * i;
    }
    return push_int(m, LAFS_PICKLE_INT, (int64_t)v);
}

/* ---- text of protocol 0 ---- */

typedef ptrdiff_t decoder(const char *p, size_t len, char *out);

/* A line whose text is written with escapes. */
static lafs_status text_line(struct machine *m, decoder *decode, enum lafs_pickle_type type)
{
    const char *p = NULL;
    char *to = NULL;
    size_t len = 0;
    LAFS_TRY(line(m, &p, &len));
    LAFS_TRY(take(m, LAFS_PICKLE_DECODED(len), &to));
    ptrdiff_t n = decode(p, len, to);
    if (n < 0) return broken(m, "a string that Python would write otherwise");
    LAFS_TRY(push_data(m, type, to, (size_t)n));
    m->stack[m->top - 1]->v.py2 = type == LAFS_PICKLE_BYTES;
    return LAFS_OK;
}

/* ---- the memo ---- */

/* Values are numbered as they are written, and each is an instruction's: a larger number would only cost memory. */
static lafs_status put(struct machine *m, uint64_t at)
{
    struct node *n = NULL;
    LAFS_TRY(peek(m, &n));
    if (at >= m->steps) return broken(m, "a memo larger than what was read");
    if (at >= m->memo_cap) {
        size_t cap = 2 * (size_t)at + 64;
        LAFS_TRY(lafs_resize(&m->memo, m->memo_cap, cap, sizeof *m->memo, m->err));
        memset(m->memo + m->memo_cap, 0, (cap - m->memo_cap) * sizeof *m->memo);
        m->memo_cap = cap;
    }
    m->memoized += !m->memo[at];
    m->memo[at] = n;
    return LAFS_OK;
}

static lafs_status get(struct machine *m, uint64_t at)
{
    if (at >= m->memo_cap || !m->memo[at]) return broken(m, "a reference to nothing");
    return push(m, m->memo[at]);
}

static lafs_status memo_line(struct machine *m, uint64_t *at)
{
    char text[MAX_NUMBER];
    int64_t v;
    LAFS_TRY(number_line(m, text));
    if (!lafs_parse_int(text, &v) || v < 0) return broken(m, "no number of the memo");
    *at = (uint64_t)v;
    return LAFS_OK;
}

static lafs_status memo_number(struct machine *m, int width, int is_put)
{
    uint64_t at = 0;
    LAFS_TRY(width ? number(m, width, &at) : memo_line(m, &at));
    return is_put ? put(m, at) : get(m, at);
}

/* ---- globals and calls ---- */

static const char *const known[] = {"_codecs.encode", "builtins.bytes", "__builtin__.bytes", "builtins.bytearray",
                                    "__builtin__.bytearray", NULL};

/* The place of a name in a list; where it is not there, that of the end. */
static size_t place_of(const char *const *list, const char *name)
{
    size_t i = 0;
    while (list && list[i] && (!name || strcmp(list[i], name))) i++;
    return i;
}

static int listed(const char *const *list, const char *name) { return list && list[place_of(list, name)]; }

static lafs_status push_global(struct machine *m, const char *module, size_t module_len, const char *name, size_t len)
{
    char full[MAX_NAME + 2];
    const char *const *allow = m->opt->allow;
    if (module_len + len > MAX_NAME) return broken(m, "a global's name of more than 512 bytes");
    memcpy(full, module, module_len);
    full[module_len] = '.';
    memcpy(full + module_len + 1, name, len);
    full[module_len + 1 + len] = 0;
    /* It will be shown, and compared as a string. */
    for (size_t i = 0; i < module_len + 1 + len; i++)
        if ((unsigned char)full[i] < 0x20 || (unsigned char)full[i] >= 0x7f) full[i] = '?';
    if (!listed(allow, full) && !listed(known, full))
        return lafs_fail(m->err, LAFS_FAILED, "refused: it calls for %.200s", full);
    size_t i = place_of(allow, full), k = listed(allow, full) ? 0 : place_of(known, full);
    struct node **n = &m->global[i + k];
    if (!*n) {
        LAFS_TRY(new_node(m, LAFS_PICKLE_GLOBAL, n));
        (*n)->v.name = listed(allow, full) ? allow[i] : known[k];
    }
    return push(m, *n);
}

static lafs_status global_lines(struct machine *m)
{
    const char *module = NULL, *name = NULL;
    size_t module_len = 0, len = 0;
    LAFS_TRY(line(m, &module, &module_len));
    LAFS_TRY(line(m, &name, &len));
    return push_global(m, module, module_len, name, len);
}

static lafs_status stack_global(struct machine *m)
{
    struct node *module = NULL, *name = NULL;
    LAFS_TRY(pop(m, &name));
    LAFS_TRY(pop(m, &module));
    if (!lafs_pickle_is_text(&module->v) || !lafs_pickle_is_text(&name->v))
        return broken(m, "a global whose name is no text");
    return push_global(m, module->v.data, module->v.size, name->v.data, name->v.size);
}

/* Characters up to U+00FF as one byte each. Every Python writes a text of its own for each of its bytes: one that is
 * used again and again would cost memory out of proportion to the pickle. (A byte there may be two in UTF-8.) */
static lafs_status push_latin1(struct machine *m, const struct lafs_pickle_value *text)
{
    char *to = NULL;
    if (text->size > 2 * m->size - m->decoded)
        return broken(m, "bytes written as text, of which it repeats too much");
    m->decoded += text->size;
    LAFS_TRY(take(m, text->size, &to));
    ptrdiff_t n = lafs_pickle_decode_latin1(text->data, text->size, to);
    if (n < 0) return broken(m, "bytes written as text that is not latin-1");
    return push_data(m, LAFS_PICKLE_BYTES, to, (size_t)n);
}

static int is_latin1(const struct lafs_pickle_value *v)
{
    return lafs_pickle_is(v, "latin1") || lafs_pickle_is(v, "latin-1");
}

/* The ways to write bytes: _codecs.encode(text, 'latin1'), bytearray(text, 'latin-1'), bytes(), bytearray(bytes). */
static lafs_status call_known(struct machine *m, const char *name, const struct lafs_pickle_value *args)
{
    const struct lafs_pickle_value *a = args->count ? args->item[0] : NULL;
    int is_encode = !strcmp(name, "_codecs.encode");
    if (args->count == 2 && a->type == LAFS_PICKLE_STR && is_latin1(args->item[1])) return push_latin1(m, a);
    if (!is_encode && args->count == 0) return push_data(m, LAFS_PICKLE_BYTES, "", 0);
    if (!is_encode && args->count == 1 && a->type == LAFS_PICKLE_BYTES)
        return push_data(m, LAFS_PICKLE_BYTES, a->data, a->size);
    return lafs_fail(m->err, LAFS_FAILED, "refused: it calls %s for something else than bytes", name);
}

static lafs_status push_call(struct machine *m, struct node *callee, struct node *args, struct node *kwargs)
{
    struct node *n = NULL;
    struct lafs_pickle_call *call = NULL;
    if (callee->v.type != LAFS_PICKLE_GLOBAL) return broken(m, "a call of what is no global");
    if (args->v.type != LAFS_PICKLE_TUPLE) return broken(m, "a call with arguments that are no tuple");
    if (kwargs && kwargs->v.type != LAFS_PICKLE_DICT) return broken(m, "a call with named arguments that are none");
    if (!listed(m->opt->allow, callee->v.name) && !kwargs) return call_known(m, callee->v.name, &args->v);
    LAFS_TRY(take(m, sizeof *call, &call));
    *call = (struct lafs_pickle_call){&callee->v, &args->v, kwargs ? &kwargs->v : NULL, NULL, 0};
    LAFS_TRY(push_new(m, LAFS_PICKLE_CALL, &n));
    n->v.call = call;
    return LAFS_OK;
}

/* REDUCE, NEWOBJ, NEWOBJ_EX */
static lafs_status call(struct machine *m, int named)
{
    struct node *callee = NULL, *args = NULL, *kwargs = NULL;
    if (named) LAFS_TRY(pop(m, &kwargs));
    LAFS_TRY(pop(m, &args));
    LAFS_TRY(pop(m, &callee));
    return push_call(m, callee, args, kwargs);
}

/* OBJ: callee and arguments above the mark. INST: the arguments; the callee is named in two lines. */
static lafs_status call_marked(struct machine *m, int inst)
{
    struct node **items = NULL, *callee = NULL, *args = NULL;
    size_t count = 0, from = 0;
    if (inst) {
        LAFS_TRY(global_lines(m));
        LAFS_TRY(pop(m, &callee));
    }
    LAFS_TRY(pop_mark(m, &items, &count));
    if (!inst) {
        if (count == 0) return broken(m, "an object without a class");
        callee = items[0];
        from = 1;
    }
    LAFS_TRY(push_container(m, LAFS_PICKLE_TUPLE, items + from, count - from));
    LAFS_TRY(pop(m, &args));
    return push_call(m, callee, args, NULL);
}

static lafs_status build(struct machine *m)
{
    struct node *state = NULL, *n = NULL;
    LAFS_TRY(pop(m, &state));
    LAFS_TRY(peek(m, &n));
    if (n->v.type != LAFS_PICKLE_CALL) return broken(m, "a state for what is no object");
    struct lafs_pickle_call *c = (struct lafs_pickle_call *)n->v.call;
    if (c->state) return broken(m, "two states for one object");
    c->state = &state->v;
    return LAFS_OK;
}

static lafs_status persistent(struct machine *m, int is_line)
{
    struct node *id = NULL, *n = NULL;
    const char *p = NULL;
    size_t len = 0;
    if (is_line) {
        LAFS_TRY(line(m, &p, &len));
        if (!lafs_pickle_valid_utf8(p, len)) return broken(m, "text that is no UTF-8");
        LAFS_TRY(push_data(m, LAFS_PICKLE_STR, p, len));
    }
    LAFS_TRY(pop(m, &id));
    LAFS_TRY(push_new(m, LAFS_PICKLE_PERSID, &n));
    n->v.persistent = &id->v;
    LAFS_TRY(room(m, &m->persid, m->persids, &m->persid_cap, sizeof *m->persid));
    m->persid[m->persids++] = n;
    return LAFS_OK;
}

/* ---- opcodes ---- */

static lafs_status protocol(struct machine *m)
{
    const unsigned char *p = NULL;
    LAFS_TRY(bytes(m, 1, &p));
    if (*p > 5) return lafs_fail(m->err, LAFS_FAILED, "a pickle of protocol %d: 0 to 5 are known", *p);
    m->protocol = *p;
    return LAFS_OK;
}

static lafs_status frame(struct machine *m)
{
    uint64_t n = 0;
    LAFS_TRY(number(m, 8, &n));
    return n > m->size - m->at ? cut(m) : LAFS_OK;
}

static lafs_status discard(struct machine *m, int to_mark)
{
    struct node *n = NULL, **items = NULL;
    size_t count = 0;
    if (to_mark || (m->marks && m->mark[m->marks - 1] == m->top)) return pop_mark(m, &items, &count);
    return pop(m, &n);
}

static lafs_status duplicate(struct machine *m)
{
    struct node *n = NULL;
    LAFS_TRY(peek(m, &n));
    return push(m, n);
}

static lafs_status set_mark(struct machine *m)
{
    LAFS_TRY(room(m, &m->mark, m->marks, &m->mark_cap, sizeof *m->mark));
    m->mark[m->marks++] = m->top;
    return LAFS_OK;
}

static lafs_status small_int(struct machine *m, int width)
{
    uint64_t v = 0;
    LAFS_TRY(number(m, width, &v));
    return push_int(m, LAFS_PICKLE_INT, width == 4 ? (int32_t)(uint32_t)v : (int64_t)v);
}

static lafs_status unknown(struct machine *m, int op)
{
    switch (op) {
    case OP_EXT1: case OP_EXT2: case OP_EXT4:
        return lafs_fail(m->err, LAFS_FAILED, "refused: it calls for something in the writer's extension registry");
    case OP_NEXT_BUFFER: case OP_READONLY_BUFFER:
        return lafs_fail(m->err, LAFS_FAILED, "refused: its data lie in buffers outside the pickle");
    default: return lafs_fail(m->err, LAFS_FAILED, "no pickle: byte 0x%02x at %zu is no instruction", op, m->at - 1);
    }
}

/* Protocols 2 to 5. */
static lafs_status step_new(struct machine *m, int op)
{
    switch (op) {
    case OP_PROTO: return protocol(m);
    case OP_NEWOBJ: return call(m, 0);
    case OP_NEWOBJ_EX: return call(m, 1);
    case OP_TUPLE1: case OP_TUPLE2: case OP_TUPLE3: return push_tuple(m, (size_t)(op - OP_TUPLE1 + 1));
    case OP_NEWTRUE: case OP_NEWFALSE: return push_int(m, LAFS_PICKLE_BOOL, op == OP_NEWTRUE);
    case OP_LONG1: return long_bytes(m, 1);
    case OP_LONG4: return long_bytes(m, 4);
    case OP_SHORT_BINBYTES: return counted(m, 1, LAFS_PICKLE_BYTES, 0);
    case OP_BINBYTES: return counted(m, 4, LAFS_PICKLE_BYTES, 0);
    case OP_BINBYTES8: case OP_BYTEARRAY8: return counted(m, 8, LAFS_PICKLE_BYTES, 0);
    case OP_SHORT_BINUNICODE: return counted(m, 1, LAFS_PICKLE_STR, 0);
    case OP_BINUNICODE8: return counted(m, 8, LAFS_PICKLE_STR, 0);
    case OP_EMPTY_SET: return push_container(m, LAFS_PICKLE_SET, NULL, 0);
    case OP_ADDITEMS: return extend_marked(m, 0);
    case OP_FROZENSET: return push_marked(m, LAFS_PICKLE_SET);
    case OP_STACK_GLOBAL: return stack_global(m);
    case OP_MEMOIZE: return put(m, m->memoized);
    case OP_FRAME: return frame(m);
    default: return unknown(m, op);
    }
}

/* Protocols 0 and 1. */
static lafs_status step(struct machine *m, int op)
{
    switch (op) {
    case OP_MARK: return set_mark(m);
    case OP_STOP: return pop(m, &m->root);
    case OP_POP: return discard(m, 0);
    case OP_POP_MARK: return discard(m, 1);
    case OP_DUP: return duplicate(m);
    case OP_FLOAT: return float_line(m);
    case OP_BINFLOAT: return binary_float(m);
    case OP_INT: return int_line(m, 0);
    case OP_LONG: return int_line(m, 1);
    case OP_BININT: return small_int(m, 4);
    case OP_BININT1: return small_int(m, 1);
    case OP_BININT2: return small_int(m, 2);
    case OP_NONE: return push_int(m, LAFS_PICKLE_NONE, 0);
    case OP_PERSID: return persistent(m, 1);
    case OP_BINPERSID: return persistent(m, 0);
    case OP_REDUCE: return call(m, 0);
    case OP_STRING: return text_line(m, lafs_pickle_decode_repr, LAFS_PICKLE_BYTES);
    case OP_BINSTRING: return counted(m, 4, LAFS_PICKLE_BYTES, 1);
    case OP_SHORT_BINSTRING: return counted(m, 1, LAFS_PICKLE_BYTES, 1);
    case OP_UNICODE: return text_line(m, lafs_pickle_decode_unicode, LAFS_PICKLE_STR);
    case OP_BINUNICODE: return counted(m, 4, LAFS_PICKLE_STR, 0);
    case OP_APPEND: return extend_by(m, 1, 0);
    case OP_APPENDS: return extend_marked(m, 0);
    case OP_SETITEM: return extend_by(m, 2, 1);
    case OP_SETITEMS: return extend_marked(m, 1);
    case OP_BUILD: return build(m);
    case OP_GLOBAL: return global_lines(m);
    case OP_DICT: return push_marked(m, LAFS_PICKLE_DICT);
    case OP_EMPTY_DICT: return push_container(m, LAFS_PICKLE_DICT, NULL, 0);
    case OP_LIST: return push_marked(m, LAFS_PICKLE_LIST);
    case OP_EMPTY_LIST: return push_container(m, LAFS_PICKLE_LIST, NULL, 0);
    case OP_TUPLE: return push_marked(m, LAFS_PICKLE_TUPLE);
    case OP_EMPTY_TUPLE: return push_container(m, LAFS_PICKLE_TUPLE, NULL, 0);
    case OP_GET: return memo_number(m, 0, 0);
    case OP_BINGET: return memo_number(m, 1, 0);
    case OP_LONG_BINGET: return memo_number(m, 4, 0);
    case OP_PUT: return memo_number(m, 0, 1);
    case OP_BINPUT: return memo_number(m, 1, 1);
    case OP_LONG_BINPUT: return memo_number(m, 4, 1);
    case OP_INST: return call_marked(m, 1);
    case OP_OBJ: return call_marked(m, 0);
    default: return step_new(m, op);
    }
}

static lafs_status execute(struct machine *m)
{
    size_t max = m->opt->max_steps ? m->opt->max_steps : LAFS_PICKLE_MAX_STEPS;
    while (!m->root) {
        if (m->at == m->size) return cut(m);
        if (m->steps++ == max) return lafs_fail(m->err, LAFS_FAILED, "a pickle of more than %zu instructions", max);
        LAFS_TRY(step(m, m->data[m->at++]));
    }
    if (m->marks || m->top) return broken(m, "it ends with values left over");
    return LAFS_OK;
}

/* ---- what came of it ---- */

static lafs_status look(struct machine *m, struct node *n, int depth);

static lafs_status look_at(struct machine *m, struct node *parent, const struct lafs_pickle_value *v, int depth)
{
    struct node *n = (struct node *)v;
    LAFS_TRY(look(m, n, depth + 1));
    if ((size_t)n->height > parent->cap) parent->cap = (size_t)n->height; /* no longer a capacity */
    if (n->tree > LAFS_PICKLE_MAX_TREE - parent->tree)
        return lafs_fail(m->err, LAFS_FAILED, "a pickle whose values repeat each other without end");
    parent->tree += n->tree;
    return LAFS_OK;
}

/* No value within itself, none too deep, and not too many on a walk. */
static lafs_status look(struct machine *m, struct node *n, int depth)
{
    const struct lafs_pickle_value *v = &n->v;
    if (n->height == OPEN) return lafs_fail(m->err, LAFS_FAILED, "a pickle with a value within itself");
    if (depth + (n->height > 0 ? n->height : 1) > LAFS_PICKLE_MAX_DEPTH)
        return lafs_fail(m->err, LAFS_FAILED, "a pickle nested deeper than %d", LAFS_PICKLE_MAX_DEPTH);
    if (n->height > 0) return LAFS_OK;
    n->height = OPEN;
    n->tree = 1;
    n->cap = 0;
    for (size_t i = 0, items = items_of(v); i < items; i++) LAFS_TRY(look_at(m, n, v->item[i], depth));
    if (v->type == LAFS_PICKLE_PERSID) LAFS_TRY(look_at(m, n, v->persistent, depth));
    if (v->type == LAFS_PICKLE_CALL) {
        LAFS_TRY(look_at(m, n, v->call->args, depth));
        if (v->call->kwargs) LAFS_TRY(look_at(m, n, v->call->kwargs, depth));
        if (v->call->state) LAFS_TRY(look_at(m, n, v->call->state, depth));
    }
    n->height = (int)n->cap + 1;
    return LAFS_OK;
}

lafs_status lafs_pickle_parse(struct lafs_pickle **out, const void *data, size_t size,
                              const struct lafs_pickle_options *opt, struct lafs_err *err)
{
    static const struct lafs_pickle_options none;
    struct machine m = {.data = data, .size = size, .opt = opt ? opt : &none, .err = err};
    struct lafs_pickle *p = NULL;
    *out = NULL;
    lafs_status st = room(&m, &m.stack, 0, &m.stack_cap, sizeof *m.stack); /* marks count from its address */
    if (st == LAFS_OK)
        st = lafs_alloc0(&m.global, place_of(m.opt->allow, NULL) + place_of(known, NULL), sizeof *m.global, err);
    if (st == LAFS_OK) st = execute(&m);
    if (st == LAFS_OK) st = look(&m, m.root, 0);
    if (st == LAFS_OK) st = lafs_alloc(&p, 1, sizeof *p, err);
    lafs_free(m.stack);
    lafs_free(m.mark);
    lafs_free(m.memo);
    lafs_free(m.global);
    if (st != LAFS_OK) {
        free_chunks(m.chunk);
        lafs_free(m.persid);
        return st;
    }
    *p = (struct lafs_pickle){.root = &m.root->v, .used = m.at, .protocol = m.protocol, .priv = m.chunk};
    /* A pointer to a node is one to its value. */
    p->persid = (const struct lafs_pickle_value *const *)m.persid;
    p->persids = m.persids;
    *out = p;
    return LAFS_OK;
}

void lafs_pickle_free(struct lafs_pickle *p)
{
    if (!p) return;
    free_chunks(p->priv);
    lafs_free((void *)p->persid);
    lafs_free(p);
}
