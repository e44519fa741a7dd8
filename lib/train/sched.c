#include "train/sched.h"

#include <inttypes.h>
#include <math.h>

static const double PI = 3.14159265358979323846;

static double half_cosine(double base, double final, int64_t i, int64_t n)
{
    return final + 0.5 * (base - final) * (1 + cos(PI * (double)i / (double)n));
}

lafs_status lafs_sched_check(int64_t warm, int64_t total, const char *units, struct lafs_err *err)
{
    if (total >= 1 && warm >= 0 && warm < total) return LAFS_OK;
    return lafs_fail(err, LAFS_USAGE, "a --warmup of %" PRId64 " %s does not fit into %" PRId64, warm, units, total);
}

double lafs_sched_cosine(double base, double final, int64_t step, int64_t total, int64_t warm)
{
    if (step < warm) return warm == 1 ? 0 : base * (double)step / (double)(warm - 1);
    return half_cosine(base, final, step - warm, total - warm);
}

double lafs_sched_finetune(double base, double final, int64_t step, int64_t total, int64_t warm)
{
    if (step < warm) return base * (double)step / (double)warm;
    return half_cosine(base, final, step - warm, total - warm);
}

double lafs_sched_linear(double first, double last, int64_t epoch, int64_t warm)
{
    if (epoch >= warm) return last;
    return warm == 1 ? first : first + (last - first) * (double)epoch / (double)(warm - 1);
}

double lafs_sched_landmark(int64_t epoch, int64_t epochs)
{
    static const struct {
        int64_t before;
        double weight;
    } table[] = {{8, 1000}, {14, 100}, {21, 1}, {28, 0.11}};
    enum { PAPER_EPOCHS = 34 };
    int64_t e = epochs == PAPER_EPOCHS ? epoch : epoch * PAPER_EPOCHS / epochs;
    for (int i = 0; i < 4; i++)
        if (e < table[i].before) return table[i].weight;
    return 0;
}
