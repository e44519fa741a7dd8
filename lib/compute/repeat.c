#include "compute/repeat.h"

#include <string.h>

void lafs_repeat(struct lafs_repeat *r, const struct lafs_backend *b, void (*work)(void *arg), void *arg)
{
    const struct lafs_ops *op = b->ops;
    if (!op->record || r->times < 0 || r->times++ == 0) {
        work(arg);
        return;
    }
    r->times = 1; /* enough is known */
    if (r->recording && op->replay(b->dev, r->recording)) return;
    op->forget(b->dev, r->recording);
    r->recording = NULL;
    if (op->record(b->dev)) {
        work(arg);
        r->recording = op->recorded(b->dev);
    }
    if (r->recording && op->replay(b->dev, r->recording)) return;
    r->times = -1;
    work(arg);
}

void lafs_repeat_forget(struct lafs_repeat *r, const struct lafs_backend *b)
{
    if (r->recording) b->ops->forget(b->dev, r->recording);
    memset(r, 0, sizeof *r);
}
