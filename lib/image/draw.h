/* Drawing on images, for looking at them: boxes, dots, small text. Everything is clipped. */
#ifndef LAFS_IMAGE_DRAW_H
#define LAFS_IMAGE_DRAW_H

#include "base/err.h"
#include "image/image.h"

struct lafs_colour {
    uint8_t r, g, b;
};
enum { LAFS_FONT_W = 6, LAFS_FONT_H = 9 }; /* pixels that a letter takes, with its gap */

void lafs_draw_fill(struct lafs_image *im, int x, int y, int w, int h, struct lafs_colour c);
/* Outline through the given corners (pixel positions), `thick` pixels inwards. */
void lafs_draw_box(struct lafs_image *im, double left, double top, double right, double bottom, int thick,
                   struct lafs_colour c);
/* A round dot with a smooth edge. */
void lafs_draw_dot(struct lafs_image *im, double x, double y, double radius, struct lafs_colour c);
/* Text with its top-left corner at (x, y), cut off after `width` pixels. Latin letters lose their accents; what the
 * font has not is '?'. */
void lafs_draw_text(struct lafs_image *im, int x, int y, int width, const char *utf8, struct lafs_colour c);
/* Copies src to (x, y). */
void lafs_draw_image(struct lafs_image *im, int x, int y, const struct lafs_image *src);
/* out (allocated here) = in scaled to w x h: bilinear when enlarging, averaging when reducing. */
lafs_status lafs_image_scale(const struct lafs_image *in, int w, int h, struct lafs_image *out, struct lafs_err *err);

#endif
