#include "cmd/printing.h"

#include <math.h>
#include <string.h>

#include "base/json.h"

struct counted counted(int64_t n, const char *things)
{
    static const struct {
        const char *many, *one;
    } irregular[] = {
        {"people", "person"}, {"entries", "entry"}, {"files that are no samples", "file that is no sample"}};
    struct counted c;
    size_t len = strlen(things);
    const char *one = NULL;
    for (size_t i = 0; i < sizeof irregular / sizeof *irregular; i++)
        if (!strcmp(things, irregular[i].many)) one = irregular[i].one;
    if (n != 1) snprintf(c.text, sizeof c.text, "%lld %s", (long long)n, things);
    else if (one) snprintf(c.text, sizeof c.text, "1 %s", one);
    else snprintf(c.text, sizeof c.text, "1 %.*s", (int)len - (things[len - 1] == 's'), things);
    return c;
}

lafs_status put_out(struct lafs_buf *b, FILE *f, struct lafs_err *err)
{
    size_t to = 0;
    for (size_t i = 0; i < b->size; i++) {
        while (b->data[i] == '\n' && to > 0 && b->data[to - 1] == ' ') to--;
        b->data[to++] = b->data[i];
    }
    b->size = to;
    lafs_status st = lafs_buf_check(b, err);
    if (st == LAFS_OK) fwrite(b->data, 1, b->size, f); /* a failure is found when stdout is closed */
    lafs_buf_release(b);
    return st;
}

void put_percent(struct lafs_buf *b, double v, int width)
{
    if (isnan(v)) lafs_buf_printf(b, "%*s", width, "-");
    else lafs_buf_printf(b, "%*.2f %%", width - 2, v * 100);
}

void put_interval(struct lafs_buf *b, double low, double high)
{
    char text[64] = "";
    if (!isnan(low)) snprintf(text, sizeof text, "[%.2f, %.2f]", low * 100, high * 100);
    lafs_buf_printf(b, " %-16s", text);
}

void put_key(struct lafs_buf *b, const char *key)
{
    if (b->size && b->data[b->size - 1] != '{' && b->data[b->size - 1] != '[') lafs_buf_puts(b, ", ");
    lafs_json_put_string(b, key, strlen(key));
    lafs_buf_puts(b, ": ");
}

void put_double(struct lafs_buf *b, const char *key, double v)
{
    put_key(b, key);
    lafs_json_put_double(b, v);
}

void put_int(struct lafs_buf *b, const char *key, int64_t v)
{
    put_key(b, key);
    lafs_buf_printf(b, "%lld", (long long)v);
}

void put_text(struct lafs_buf *b, const char *key, const char *v)
{
    put_key(b, key);
    lafs_json_put_string(b, v, strlen(v));
}
