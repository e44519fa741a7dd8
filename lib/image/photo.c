/* Photos of any kind: which it is, by the first bytes, and its reader. */
#include <string.h>

#include "image/image.h"

static const struct {
    size_t at, len;
    const char *bytes, *what;
    int is_picture; /* 0 also for so few bytes that a text may begin with them */
    enum lafs_photo photo;
} known[] = {
    {0, 3, "\xff\xd8\xff", "a JPEG photo", 1, LAFS_PHOTO_JPEG},
    {0, 4, "\x89PNG", "a PNG picture", 1, LAFS_PHOTO_PNG},
    {0, 4, "GIF8", "a GIF picture", 1},
    {0, 4, "II*\0", "a TIFF picture", 1},
    {0, 4, "MM\0*", "a TIFF picture", 1},
    {0, 4, "II+\0", "a TIFF picture", 1},
    {0, 4, "MM\0+", "a TIFF picture", 1},
    {8, 4, "WEBP", "a WebP picture", 1},
    {4, 8, "ftypheic", "a HEIC picture", 1},
    {4, 8, "ftypheix", "a HEIC picture", 1},
    {4, 8, "ftypmif1", "a HEIC picture", 1},
    {4, 8, "ftypmsf1", "a HEIC picture", 1},
    {4, 8, "ftypavif", "an AVIF picture", 1},
    {4, 7, "ftypcrx", "a raw picture of a camera", 1},
    {0, 15, "FUJIFILMCCD-RAW", "a raw picture of a camera", 1},
    {0, 12, "\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture", 1},
    {0, 2, "\xff\x0a", "a JPEG XL picture", 1},
    {0, 12, "\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture", 1},
    {0, 4, "\xff\x4f\xff\x51", "a JPEG 2000 picture", 1},
    {0, 3, "II\xbc", "a JPEG XR picture", 1},
    {0, 2, "BM", "a BMP picture"},
    {0, 4, "8BPS", "a Photoshop file"},
    {0, 4, "\x76\x2f\x31\x01", "an OpenEXR picture", 1},
    {0, 4, "\0\0\1\0", "an icon"},
    {0, 3, "P5\n", "a PGM picture", 1},
    {0, 3, "P6\n", "a PPM picture", 1},
    {4, 4, "ftyp", "a film"},
    {0, 4, "PK\3\4", "a zip archive"},
    {0, 5, "%PDF-", "a PDF document"},
    {0, 6, "\xfd\x37zXZ", "an xz archive"},
    {0, 3, "BZh", "a bzip2 archive"},
    {0, 4, "\177ELF", "a program"},
    {0, 6, "\x93NUMPY", "a NumPy array"},
    {0, 4, "\x0a\x23\xd7\xce", "a RecordIO file"},
    {8, 2, "{\"", "a safetensors file"},
};

static int find(const void *data, size_t size)
{
    int n = sizeof known / sizeof *known;
    for (int i = 0; i < n; i++)
        if (size >= known[i].at + known[i].len &&
            memcmp((const char *)data + known[i].at, known[i].bytes, known[i].len) == 0)
            return i;
    return -1;
}

enum lafs_photo lafs_photo_kind(const void *data, size_t size)
{
    int i = find(data, size);
    return i < 0 ? LAFS_PHOTO_NONE : known[i].photo;
}

int lafs_begins_as_picture(const void *data, size_t size)
{
    int i = find(data, size);
    return i >= 0 && known[i].is_picture;
}

const char *lafs_looks_like(const void *data, size_t size)
{
    int i = find(data, size);
    return i < 0 ? NULL : known[i].what;
}

lafs_status lafs_photo_check(const void *data, size_t size, struct lafs_err *err)
{
    if (lafs_photo_kind(data, size) != LAFS_PHOTO_NONE) return LAFS_OK;
    if (size == 0) return lafs_fail(err, LAFS_BAD_RECORD, "the photo is empty");
    const char *what = lafs_looks_like(data, size);
    if (!what) return lafs_fail(err, LAFS_BAD_RECORD, "neither a JPEG nor a PNG photo");
    return lafs_fail(err, LAFS_BAD_RECORD, "neither a JPEG nor a PNG photo but %s: convert it first", what);
}

lafs_status lafs_photo_decode(struct lafs_image *im, const void *data, size_t size, int64_t max_pixels,
                              struct lafs_err *err)
{
    switch (lafs_photo_kind(data, size)) {
    case LAFS_PHOTO_JPEG: return lafs_jpeg_decode(im, data, size, max_pixels, err);
    case LAFS_PHOTO_PNG: return lafs_png_decode(im, data, size, max_pixels, err);
    case LAFS_PHOTO_NONE: break;
    }
    lafs_image_release(im);
    return lafs_photo_check(data, size, err);
}

lafs_status lafs_photo_size(const void *data, size_t size, int *w, int *h, struct lafs_err *err)
{
    *w = *h = 0;
    switch (lafs_photo_kind(data, size)) {
    case LAFS_PHOTO_JPEG: return lafs_jpeg_size(data, size, w, h, err);
    case LAFS_PHOTO_PNG: return lafs_png_size(data, size, w, h, err);
    case LAFS_PHOTO_NONE: break;
    }
    return lafs_photo_check(data, size, err);
}
