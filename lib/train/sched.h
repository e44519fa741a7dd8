/* Schedules: values of a step or an epoch, computed in double from its number alone. */
#ifndef LAFS_TRAIN_SCHED_H
#define LAFS_TRAIN_SCHED_H

#include <stdint.h>

#include "base/err.h"

/* LAFS_USAGE, in these units: not a part of `total` is warm-up. */
lafs_status lafs_sched_check(int64_t warm, int64_t total, const char *units, struct lafs_err *err);

/* Linear from 0 to base over the first `warm` steps (both ends included, so step 0 gives 0), then a half cosine from
 * base towards final over the rest: final + (base-final)(1+cos(pi i/n))/2 with i = step - warm, n = total - warm. */
double lafs_sched_cosine(double base, double final, int64_t step, int64_t total, int64_t warm);

/* Fine-tuning's: base * step/warm, then the same half cosine (step 0 has 0, step `warm` has base). */
double lafs_sched_finetune(double base, double final, int64_t step, int64_t total, int64_t warm);

/* Teacher temperature of an epoch: linear from first to last over warm epochs (both ends included), then last. */
double lafs_sched_linear(double first, double last, int64_t epoch, int64_t warm);

/* Weight of the landmark regulariser by epoch, of 34 in the paper: 0-7 1000, 8-13 100, 14-20 1, 21-27 0.11, then 0.
 * A run of another length stretches the table: row = epoch * 34 / epochs. */
double lafs_sched_landmark(int64_t epoch, int64_t epochs);

#endif
