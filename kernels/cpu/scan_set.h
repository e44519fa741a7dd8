/* Inside of the scan (scan.c, scan_amx.c): what differs between instruction sets. */
#ifndef LAFS_KERNELS_CPU_SCAN_SET_H
#define LAFS_KERNELS_CPU_SCAN_SET_H

#include <stdint.h>

/* Queries are packed in groups of LAFS_SCAN_GROUP: for every four values of dim a word of each query beside the other,
 * (dim/4, LAFS_SCAN_GROUP, 4) bytes. That is a vector of AVX-512, two of AVX2, a row of a tile. */
enum { LAFS_SCAN_GROUP = 16 };
enum { LAFS_SCAN_ABOVE = 64 };
enum { LAFS_SCAN_ROWS = 32, LAFS_SCAN_GROUPS = 2 }; /* the most that dots takes at once */

struct lafs_scan_set {
    int rows, groups; /* that dots takes at once */
    int above;        /* what queries are raised by to be unsigned bytes, 0 or LAFS_SCAN_ABOVE; start makes up for it */
    /* out (rows, groups*LAFS_SCAN_GROUP) = start (rows) + the integer products of g (rows, dim) with `groups` groups
     * from q on. */
    void (*dots)(const int8_t *q, const int8_t *g, const int32_t *start, int64_t dim, int32_t *out);
    /* Of a group and `rows` rows k, whose products lie `apart` numbers apart: bit first + k of word[l] is set where
     * (float)dot[k*apart + l] >= c[l] x[k] - a[l] y[k]. */
    void (*compare)(const int32_t *dot, int64_t apart, int64_t rows, const float *c, const float *a, const float *x,
                    const float *y, int64_t first, uint64_t word[LAFS_SCAN_GROUP]);
    /* Around dots, on their thread; NULL: nothing. */
    void (*begin)(void);
    void (*end)(void);
};

/* scan_amx.c: products on tiles, where lafs_isa_amx() says that they may be used; compare is left to the caller. */
const struct lafs_scan_set *lafs_scan_amx(void);

#endif
