/* Any bytes as a pickle: what is understood can be walked to its last byte. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/pickle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned char sink;

static size_t walk(const struct lafs_pickle_value *v, int depth, size_t budget)
{
    char kind[LAFS_PICKLE_KIND];
    if (depth > LAFS_PICKLE_MAX_DEPTH) abort();
    if (budget-- == 0) return 0;
    sink ^= (unsigned char)lafs_pickle_kind(v, kind)[0];
    int paired = v->type == LAFS_PICKLE_DICT || (v->type == LAFS_PICKLE_CALL && !v->call->listed);
    switch (v->type) {
    case LAFS_PICKLE_LONG: case LAFS_PICKLE_STR: case LAFS_PICKLE_BYTES:
        for (size_t i = 0; i < v->size; i++) sink ^= (unsigned char)v->data[i];
        return budget;
    case LAFS_PICKLE_GLOBAL:
        if (strlen(v->name) > 1024) abort();
        return budget;
    case LAFS_PICKLE_PERSID: return walk(v->persistent, depth + 1, budget);
    case LAFS_PICKLE_CALL:
        if (v->call->callee->type != LAFS_PICKLE_GLOBAL || v->call->args->type != LAFS_PICKLE_TUPLE) abort();
        budget = walk(v->call->args, depth + 1, budget);
        if (v->call->kwargs) budget = walk(v->call->kwargs, depth + 1, budget);
        if (v->call->state) budget = walk(v->call->state, depth + 1, budget);
        break;
    case LAFS_PICKLE_TUPLE: case LAFS_PICKLE_LIST: case LAFS_PICKLE_SET: case LAFS_PICKLE_DICT: break;
    default: return budget;
    }
    for (size_t i = 0, n = paired ? 2 * v->count : v->count; i < n && budget; i++)
        budget = walk(v->item[i], depth + 1, budget);
    return budget;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const allow[] = {"collections.OrderedDict", "argparse.Namespace", NULL};
    struct lafs_pickle_options opt = {.allow = allow};
    struct lafs_pickle *p;
    struct lafs_err err = {0};
    lafs_status st = lafs_pickle_parse(&p, data, size, &opt, &err);
    if (st != LAFS_OK && (!err.msg[0] || p)) abort();
    if (st != LAFS_OK) return 0;
    if (p->used > size || p->used == 0) abort();
    walk(p->root, 1, 1 << 16);
    lafs_pickle_get(p->root, "state_dict");
    lafs_pickle_free(p);
    return 0;
}
