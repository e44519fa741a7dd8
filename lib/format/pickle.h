/* Reading Python pickles, protocols 0 to 5, without Python and without running anything: the program that a pickle is
 * becomes a tree of plain values. What would call something is a node that says what is called and with which
 * arguments; only globals that the caller lists may be named at all, any other is refused by its name. The pickle is
 * not trusted: sizes, counts, depth and references are checked before use.
 *
 *     static const char *const allow[] = {"collections.OrderedDict", "torch._utils._rebuild_tensor_v2", NULL};
 *     struct lafs_pickle_options opt = {.allow = allow};
 *     LAFS_TRY(lafs_pickle_parse(&p, data, size, &opt, err));
 *     v = lafs_pickle_get(p->root, "state_dict");
 *     for (i = 0; v && i < v->count; i++) use(v->item[2 * i], v->item[2 * i + 1]);
 *     lafs_pickle_free(p);                                // before data: values point into it
 */
#ifndef LAFS_FORMAT_PICKLE_H
#define LAFS_FORMAT_PICKLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum {
    LAFS_PICKLE_MAX_DEPTH = 64,           /* nesting of values */
    LAFS_PICKLE_MAX_STEPS = 4 << 20,      /* opcodes, where the options state no other number */
    LAFS_PICKLE_MAX_TREE = 64 << 20       /* values as a walk of the tree meets them: shared ones count each time */
};

enum lafs_pickle_type {
    LAFS_PICKLE_NONE,
    LAFS_PICKLE_BOOL,   /* i */
    LAFS_PICKLE_INT,    /* i */
    LAFS_PICKLE_LONG,   /* data, size: an integer of more than 8 bytes, two's complement, little-endian */
    LAFS_PICKLE_FLOAT,  /* f */
    LAFS_PICKLE_STR,    /* data, size: UTF-8, no NUL behind it */
    LAFS_PICKLE_BYTES,  /* data, size; of bytes, bytearray and (py2 1) the str of Python 2, which serves as text, too */
    LAFS_PICKLE_TUPLE,  /* item, count */
    LAFS_PICKLE_LIST,   /* item, count */
    LAFS_PICKLE_SET,    /* item, count; of set and frozenset */
    LAFS_PICKLE_DICT,   /* item, count: pairs; item[2i] the key, item[2i + 1] the value; a key may come twice */
    LAFS_PICKLE_GLOBAL, /* name: something that the caller allows, not called */
    LAFS_PICKLE_CALL,   /* call; item, count: pairs that were set (call->listed 1: items that were appended) */
    LAFS_PICKLE_PERSID  /* persistent: what the writer keeps outside, by its name there */
};

/* Everything lives as long as the pickle; data and size may point into the caller's bytes. */
struct lafs_pickle_value {
    enum lafs_pickle_type type;
    int py2;
    union {
        int64_t i;
        double f;
        size_t size;        /* bytes at data */
        size_t count;       /* items, or pairs */
    };
    union {
        const char *data;
        const char *name;   /* "module.name", ended by NUL */
        const struct lafs_pickle_value *const *item;
        const struct lafs_pickle_value *persistent;
    };
    const struct lafs_pickle_call *call; /* CALL, else NULL */
};

struct lafs_pickle_call {
    const struct lafs_pickle_value *callee;   /* a GLOBAL */
    const struct lafs_pickle_value *args;     /* a TUPLE */
    const struct lafs_pickle_value *kwargs;   /* a DICT, or NULL */
    const struct lafs_pickle_value *state;    /* what it was built with (__setstate__), or NULL */
    int listed;
};

struct lafs_pickle {
    const struct lafs_pickle_value *root;
    size_t used;      /* bytes up to the pickle's end: others may follow */
    int protocol;     /* as stated: 2..5; 0 for 0 and 1, which state none */
    const struct lafs_pickle_value *const *persid; /* (persids) every PERSID that came, in the pickle's order */
    size_t persids;
    void *priv;
};

struct lafs_pickle_options {
    const char *const *allow; /* "module.name", .., NULL; NULL: no globals. To stay as long as the pickle. Known without
                                 it, as no more than ways to write bytes: _codecs.encode with latin1, bytes, bytearray;
                                 they become BYTES */
    size_t max_steps;         /* opcodes; 0: LAFS_PICKLE_MAX_STEPS */
};
/* Memory that a pickle of `size` bytes can cost at most, whatever it holds, while and after it is parsed. */
#define LAFS_PICKLE_MEMORY(size, max_steps) (((size_t)1 << 20) + 4 * (size_t)(size) + 96 * (size_t)(max_steps))
/* Parses the pickle that begins at data. LAFS_CUT: it ends before its end (and nothing was wrong until there).
 * LAFS_FAILED: no pickle, a broken one, over a limit, a value within itself, "refused: it calls for os.system". */
lafs_status lafs_pickle_parse(struct lafs_pickle **out, const void *data, size_t size,
                              const struct lafs_pickle_options *opt, struct lafs_err *err);
void lafs_pickle_free(struct lafs_pickle *p); /* NULL is fine */

/* Whether the bytes begin like a pickle: protocol 2..5, or the way of 0 and 1 to open a tuple, list or dictionary. */
int lafs_pickle_begins(const void *data, size_t size);
/* Whether v is the global "module.name", or a call of it. */
int lafs_pickle_names(const struct lafs_pickle_value *v, const char *name);
/* Whether v is text: STR, or Python 2's str. */
int lafs_pickle_is_text(const struct lafs_pickle_value *v);
/* Whether v is text and equal to `text`. */
int lafs_pickle_is(const struct lafs_pickle_value *v, const char *text);
/* The value under the text `key` in a DICT, or in the pairs that were set on a CALL (an OrderedDict): the last such, as
 * in Python; NULL where there is none, v is NULL or another type. */
const struct lafs_pickle_value *lafs_pickle_get(const struct lafs_pickle_value *v, const char *key);
/* "a dictionary", "a call of torch._utils._rebuild_tensor_v2", "nothing" (v NULL), ..: for messages. Returns buf. */
enum { LAFS_PICKLE_KIND = 160 };
const char *lafs_pickle_kind(const struct lafs_pickle_value *v, char buf[LAFS_PICKLE_KIND]);

#endif
