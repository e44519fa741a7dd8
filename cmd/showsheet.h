/* Contact sheets: many records in one picture. */
#ifndef LAFS_CMD_SHOWSHEET_H
#define LAFS_CMD_SHOWSHEET_H

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "data/record.h"
#include "image/image.h"

struct sheet_cell {
    struct lafs_image picture; /* (size, size), owned */
    char caption[2][48];
    int starts_row;
};
struct sheet {
    int mosaic, views;         /* what to show */
    int size, columns;         /* of a cell in pixels; 0: chosen */
    int64_t max_pixels;
    struct sheet_cell *cell;   /* (count); owned */
    int count, cap, captioned;
    /* The photo of the last cell: faces of one photo are drawn on it once. */
    uint64_t last_photo;
    int last_faces;
    double last_place[3];
};
enum { SHEET_MAX_CELLS = 4096 };
void sheet_release(struct sheet *s);
/* Adds the record's picture, or a row of its views. LAFS_BAD_RECORD: it has none, or a broken one. */
lafs_status sheet_add(struct sheet *s, const struct lafs_sample *sample, struct lafs_err *err);
/* Appends the sheet as a JPEG. LAFS_FAILED: it is empty, or larger than a JPEG can be. */
lafs_status sheet_jpeg(const struct sheet *s, struct lafs_buf *out, struct lafs_err *err);

#endif
