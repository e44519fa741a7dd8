/* Questions about the values of a pickle. */
#include <stdio.h>
#include <string.h>

#include "format/pickle.h"

int lafs_pickle_begins(const void *data, size_t size)
{
    const unsigned char *p = data;
    if (size < 2) return 0;
    /* PROTO; or an opening and what may follow it: "(lp0", "(dp0", "(I1", "((lp", "]q\0", "}q\0". */
    if (p[0] == 0x80) return p[1] >= 2 && p[1] <= 5;
    if (p[0] == ']' || p[0] == '}') return p[1] == 'q' || p[1] == 'r';
    return p[0] == '(' && strchr("(lditScV]}IFUTXc", p[1]) != NULL && p[1] != 0;
}

int lafs_pickle_is_text(const struct lafs_pickle_value *v)
{
    return v && (v->type == LAFS_PICKLE_STR || (v->type == LAFS_PICKLE_BYTES && v->py2));
}

int lafs_pickle_names(const struct lafs_pickle_value *v, const char *name)
{
    if (v && v->type == LAFS_PICKLE_CALL) v = v->call->callee;
    return v && v->type == LAFS_PICKLE_GLOBAL && !strcmp(v->name, name);
}

int lafs_pickle_is(const struct lafs_pickle_value *v, const char *text)
{
    size_t len = strlen(text);
    return lafs_pickle_is_text(v) && v->size == len && memcmp(v->data, text, len) == 0;
}

const struct lafs_pickle_value *lafs_pickle_get(const struct lafs_pickle_value *v, const char *key)
{
    if (!v || (v->type != LAFS_PICKLE_DICT && (v->type != LAFS_PICKLE_CALL || v->call->listed))) return NULL;
    for (size_t i = v->count; i-- > 0;)
        if (lafs_pickle_is(v->item[2 * i], key)) return v->item[2 * i + 1];
    return NULL;
}

const char *lafs_pickle_kind(const struct lafs_pickle_value *v, char buf[LAFS_PICKLE_KIND])
{
    static const char *const kind[] = {"None", "a boolean", "an integer", "a long integer", "a number", "a text",
                                       "bytes", "a tuple", "a list", "a set", "a dictionary"};
    if (!v) snprintf(buf, LAFS_PICKLE_KIND, "nothing");
    else if (v->type == LAFS_PICKLE_GLOBAL) snprintf(buf, LAFS_PICKLE_KIND, "%s", v->name);
    else if (v->type == LAFS_PICKLE_CALL) snprintf(buf, LAFS_PICKLE_KIND, "a call of %s", v->call->callee->name);
    else if (v->type == LAFS_PICKLE_PERSID) snprintf(buf, LAFS_PICKLE_KIND, "something kept outside");
    else snprintf(buf, LAFS_PICKLE_KIND, "%s", kind[v->type]);
    return buf;
}
