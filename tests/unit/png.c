/* PNG: every colour type and depth as libpng's writer writes it, against the pixels by arithmetic of our own; what is
 * broken in any byte is refused. */
#include <png.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/rng.h"
#include "image/image.h"
#include "tests/test.h"

enum { W = 21, H = 13, MAX_CHANNELS = 4 };

static struct lafs_err e;

struct picture {
    int type, depth, interlaced; /* PNG_COLOR_TYPE_*, bits a channel */
    int transparent;             /* a tRNS chunk */
    uint16_t v[H][W][MAX_CHANNELS];
    png_color palette[256];
    png_byte palette_alpha[256];
    png_color_16 key;            /* the colour that is transparent */
};

static int channels(int type)
{
    return type == PNG_COLOR_TYPE_GRAY || type == PNG_COLOR_TYPE_PALETTE ? 1 : type == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                                                                        : type == PNG_COLOR_TYPE_RGB              ? 3
                                                                                                                  : 4;
}

static void fill(struct picture *p, int type, int depth, int interlaced, int transparent)
{
    struct lafs_rng r;
    lafs_rng_init(&r, (uint64_t)(type * 100 + depth * 4 + interlaced * 2 + transparent));
    memset(p, 0, sizeof *p);
    p->type = type, p->depth = depth, p->interlaced = interlaced, p->transparent = transparent;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int c = 0; c < channels(type); c++) p->v[y][x][c] = (uint16_t)(lafs_rng_u32(&r) & ((1u << depth) - 1));
    for (int i = 0; i < 256; i++) {
        uint32_t v = lafs_rng_u32(&r);
        p->palette[i] = (png_color){(png_byte)v, (png_byte)(v >> 8), (png_byte)(v >> 16)};
        p->palette_alpha[i] = (png_byte)(v >> 24);
    }
    for (int x = 0; x < W; x += 2) memcpy(p->v[H / 2][x], p->v[0][0], sizeof p->v[0][0]); /* the key is met often */
    p->key.gray = p->key.red = p->v[0][0][0];
    p->key.green = p->v[0][0][1];
    p->key.blue = p->v[0][0][2];
}

static void collect(png_structp png, png_bytep data, size_t size) { lafs_buf_put(png_get_io_ptr(png), data, size); }

static void encode(const struct picture *p, struct lafs_buf *out)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    unsigned char row[H][W * MAX_CHANNELS * 2] = {{0}}, *rows[H];
    int n = channels(p->type);
    for (int y = 0; y < H; y++) {
        rows[y] = row[y];
        for (int i = 0; i < W * n; i++) {
            int v = p->v[y][i / n][i % n], bit = i * p->depth;
            if (p->depth == 16) row[y][2 * i] = (unsigned char)(v >> 8), row[y][2 * i + 1] = (unsigned char)v;
            else row[y][bit / 8] |= (unsigned char)(v << (8 - p->depth - bit % 8));
        }
    }
    lafs_buf_clear(out);
    png_set_write_fn(png, out, collect, NULL);
    png_set_IHDR(png, info, W, H, p->depth, p->type, p->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_gAMA(png, info, 0.3); /* to be ignored */
    int colours = 1 << p->depth, palette = p->type == PNG_COLOR_TYPE_PALETTE;
    if (palette) png_set_PLTE(png, info, p->palette, colours);
    if (p->transparent) png_set_tRNS(png, info, palette ? p->palette_alpha : NULL, palette ? colours : 0, (png_color_16p)&p->key);
    png_write_info(png, info);
    png_write_image(png, rows);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
}

/* What a pixel must be: 8 bits, on black. */
static void expected(const struct picture *p, int x, int y, int out[3])
{
    const uint16_t *v = p->v[y][x];
    double top = (1 << p->depth) - 1, alpha = 1, rgb[3];
    int n = channels(p->type), grey = n <= 2;
    for (int k = 0; k < 3; k++) rgb[k] = v[grey ? 0 : k];
    if (p->type == PNG_COLOR_TYPE_PALETTE) {
        const png_color *c = &p->palette[v[0]];
        rgb[0] = c->red, rgb[1] = c->green, rgb[2] = c->blue;
        if (p->transparent) alpha = p->palette_alpha[v[0]] / 255.0;
        top = 255;
    } else if (n == 2 || n == 4) {
        alpha = floor(v[n - 1] / top * 255 + 0.5) / 255;
    } else if (p->transparent) {
        alpha = n == 1 ? v[0] != p->key.gray : v[0] != p->key.red || v[1] != p->key.green || v[2] != p->key.blue;
    }
    for (int k = 0; k < 3; k++) out[k] = (int)floor(floor(rgb[k] / top * 255 + 0.5) * alpha + 0.5);
}

static void check_picture(const struct picture *p)
{
    struct lafs_buf b;
    struct lafs_image im = {0};
    int w, h;
    lafs_buf_init(&b);
    encode(p, &b);
    REQUIRE_OK(lafs_png_size(b.data, b.size, &w, &h, &e), &e);
    CHECK(w == W && h == H);
    REQUIRE_OK(lafs_photo_decode(&im, b.data, b.size, 0, &e), &e);
    CHECK(im.w == W && im.h == H);
    int wrong = 0;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++) {
            int want[3];
            expected(p, x, y, want);
            for (int k = 0; k < 3; k++) wrong += im.px[(y * W + x) * 3 + k] != want[k];
        }
    if (wrong) FAIL_("type %d, %d bits, interlaced %d, tRNS %d: %d wrong", p->type, p->depth, p->interlaced, p->transparent, wrong);
    lafs_image_release(&im);
    lafs_buf_release(&b);
}

TEST(every_kind)
{
    static struct picture p;
    static const int type[] = {PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_PALETTE, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB_ALPHA};
    static const int depths[] = {31, 24, 15, 24, 24}; /* sums of those that the kind may have */
    int kinds = 0;
    for (int t = 0; t < 5; t++)
        for (int depth = 1; depth <= 16; depth *= 2) {
            if (!(depths[t] & depth)) continue;
            for (int form = 0; form < 4; form++) {
                if ((form & 2) && t > 2) continue;
                fill(&p, type[t], depth, form & 1, form >> 1);
                check_picture(&p);
                kinds++;
            }
        }
    CHECK_INT(kinds, 11 * 4 + 4 * 2);
}

/* The file with a chunk in front of its first chunk of kind `before`. */
static void with_chunk(const struct lafs_buf *b, const char *before, const char *type, const void *data, size_t n,
                       struct lafs_buf *out)
{
    size_t at = 8;
    while (memcmp(b->data + at + 4, before, 4)) at += 12 + ((size_t)b->data[at + 2] << 8 | b->data[at + 3]);
    struct lafs_buf body;
    lafs_buf_init(&body);
    lafs_buf_put(&body, type, 4);
    lafs_buf_put(&body, data, n);
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < body.size; i++) {
        crc ^= body.data[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    crc = ~crc;
    lafs_buf_clear(out);
    lafs_buf_put(out, b->data, at);
    for (int k = 3; k >= 0; k--) lafs_buf_putc(out, (int)(n >> 8 * k & 255));
    lafs_buf_put(out, body.data, body.size);
    for (int k = 3; k >= 0; k--) lafs_buf_putc(out, (int)(crc >> 8 * k & 255));
    lafs_buf_put(out, b->data + at, b->size - at);
    lafs_buf_release(&body);
}

TEST(exif_orientation)
{
    static struct picture p;
    static const unsigned char le[] = "II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\0\0\0\0\0\0\0\0";
    struct lafs_buf plain, b;
    lafs_buf_init(&plain);
    lafs_buf_init(&b);
    fill(&p, PNG_COLOR_TYPE_RGB, 8, 0, 0);
    encode(&p, &plain);
    for (int form = 0; form < 18; form++) {
        int o = form % 9, swap = o >= 5, w, h, wrong = 0;
        unsigned char exif[sizeof le - 1];
        memcpy(exif, le, sizeof exif);
        exif[18] = (unsigned char)o; /* 0: none that is valid */
        with_chunk(&plain, form < 9 ? "IDAT" : "IEND", "eXIf", exif, sizeof exif, &b);
        struct lafs_image im = {0};
        REQUIRE_OK(lafs_png_decode(&im, b.data, b.size, 0, &e), &e);
        REQUIRE_OK(lafs_photo_size(b.data, b.size, &w, &h, &e), &e);
        CHECK(im.w == w && im.h == h && w == (swap ? H : W) && h == (swap ? W : H));
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) { /* TIFF 6.0: where row 0 and column 0 of the stored picture are shown */
                int row = swap ? x : y, col = swap ? y : x;
                if (o == 3 || o == 4 || o == 7 || o == 6) row = H - 1 - row;
                if (o == 2 || o == 3 || o == 7 || o == 8) col = W - 1 - col;
                for (int k = 0; k < 3; k++) wrong += im.px[(y * w + x) * 3 + k] != p.v[row][col][k];
            }
        if (wrong) FAIL_("orientation %d, %s: %d wrong", o, form < 9 ? "first" : "last", wrong);
        lafs_image_release(&im);
    }
    lafs_buf_release(&plain);
    lafs_buf_release(&b);
}

static lafs_status try_bytes(const unsigned char *data, size_t n)
{
    struct lafs_image im = {0};
    unsigned char *exact = malloc(n ? n : 1); /* so that a sanitizer sees every byte too far */
    memcpy(exact, data, n);
    e.msg[0] = 0;
    lafs_status st = lafs_png_decode(&im, exact, n, 0, &e);
    if (st != LAFS_OK) CHECK(!im.px && e.msg[0]);
    free(exact);
    lafs_image_release(&im);
    return st;
}

TEST(every_truncation_and_every_changed_byte_is_bad)
{
    static struct picture p;
    struct lafs_buf b;
    lafs_buf_init(&b);
    for (int form = 0; form < 4; form++) {
        fill(&p, form & 1 ? PNG_COLOR_TYPE_PALETTE : PNG_COLOR_TYPE_RGB_ALPHA, 8, form >> 1, form & 1);
        encode(&p, &b);
        for (size_t n = 0; n < b.size; n++)
            if (try_bytes(b.data, n) != LAFS_BAD_RECORD) FAIL_("cut to %zu of %zu", n, b.size);
        for (size_t i = 0; i < b.size; i++) {
            b.data[i] ^= (unsigned char)(1 << (i % 8));
            if (try_bytes(b.data, b.size) != LAFS_BAD_RECORD) FAIL_("byte %zu of %zu changed", i, b.size);
            b.data[i] ^= (unsigned char)(1 << (i % 8));
        }
        CHECK_INT(try_bytes(b.data, b.size), LAFS_OK);
        lafs_buf_puts(&b, "tail");
        CHECK_INT(try_bytes(b.data, b.size), LAFS_OK);
    }
    lafs_buf_release(&b);
}

/* Width and height of the header, with its checksum made right again. */
static void claim(struct lafs_buf *b, uint32_t w, uint32_t h)
{
    struct lafs_buf head, out;
    unsigned char ihdr[13];
    memcpy(ihdr, b->data + 16, 13);
    for (int k = 0; k < 4; k++) ihdr[k] = (unsigned char)(w >> 8 * (3 - k)), ihdr[4 + k] = (unsigned char)(h >> 8 * (3 - k));
    lafs_buf_init(&head);
    lafs_buf_init(&out);
    lafs_buf_put(&head, b->data, 8);
    lafs_buf_put(&head, b->data + 33, b->size - 33);
    char first[5] = {0};
    memcpy(first, head.data + 12, 4);
    with_chunk(&head, first, "IHDR", ihdr, 13, &out);
    lafs_buf_clear(b);
    lafs_buf_put(b, out.data, out.size);
    lafs_buf_release(&head);
    lafs_buf_release(&out);
}

TEST(claims_are_checked_before_decoding)
{
    static struct picture p;
    struct lafs_buf b;
    struct lafs_image im = {0};
    lafs_buf_init(&b);
    fill(&p, PNG_COLOR_TYPE_RGB_ALPHA, 16, 1, 0);
    encode(&p, &b);
    CHECK_INT(lafs_photo_decode(&im, b.data, b.size, W * H - 1, &e), LAFS_BAD_RECORD);
    CHECK_STR(e.msg, "picture of 21 x 13 is more than 272 pixels");
    CHECK_INT(lafs_photo_decode(&im, b.data, b.size, W * H, &e), LAFS_OK);
    claim(&b, W, H); /* as it was */
    CHECK_INT(lafs_photo_decode(&im, b.data, b.size, W * H, &e), LAFS_OK);
    claim(&b, 0x7fffffff, 0x7fffffff);
    CHECK_INT(try_bytes(b.data, b.size), LAFS_BAD_RECORD);
    CHECK_STR(e.msg, "picture of 2147483647 x 2147483647 is more than 100000000 pixels");
    claim(&b, 65501, 2);
    CHECK_INT(try_bytes(b.data, b.size), LAFS_BAD_RECORD);
    CHECK_STR(e.msg, "an image of 65501 x 2 pixels is not possible");
    claim(&b, 0, 5);
    CHECK_INT(try_bytes(b.data, b.size), LAFS_BAD_RECORD);
    claim(&b, W, H + 1); /* a row more than there is */
    CHECK_INT(try_bytes(b.data, b.size), LAFS_BAD_RECORD);
    lafs_image_release(&im);
    lafs_buf_release(&b);
}

TEST(odd_chunks)
{
    static struct picture p;
    struct lafs_buf b, more;
    lafs_buf_init(&b);
    lafs_buf_init(&more);
    fill(&p, PNG_COLOR_TYPE_RGB, 8, 0, 0);
    encode(&p, &b);
    static unsigned char bytes[40000];
    with_chunk(&b, "IDAT", "zTXt", bytes, sizeof bytes, &more); /* not looked into */
    CHECK_INT(try_bytes(more.data, more.size), LAFS_OK);
    with_chunk(&b, "IDAT", "acTL", "\0\0\0\2\0\0\0\0", 8, &more); /* an animation: its first picture */
    CHECK_INT(try_bytes(more.data, more.size), LAFS_OK);
    with_chunk(&b, "IDAT", "iCCP", "x\0\0not deflated", 15, &more);
    CHECK_INT(try_bytes(more.data, more.size), LAFS_OK);
    with_chunk(&b, "IDAT", "ABCD", "x", 1, &more); /* critical, and unknown */
    CHECK_INT(try_bytes(more.data, more.size), LAFS_BAD_RECORD);
    with_chunk(&b, "IDAT", "IDAT", "x\x9c no", 5, &more);
    CHECK_INT(try_bytes(more.data, more.size), LAFS_BAD_RECORD);
    with_chunk(&b, "IHDR", "gAMA", "\0\0\1\1", 4, &more);
    CHECK_INT(try_bytes(more.data, more.size), LAFS_BAD_RECORD);
    fill(&p, PNG_COLOR_TYPE_PALETTE, 4, 0, 0);
    encode(&p, &b);
    static const char plte[] = "PLTE";
    size_t at = 8; /* a palette of 3 colours in place of 16 */
    while (memcmp(b.data + at + 4, plte, 4)) at += 12 + ((size_t)b.data[at + 2] << 8 | b.data[at + 3]);
    struct lafs_buf none;
    lafs_buf_init(&none);
    lafs_buf_put(&none, b.data, at);
    lafs_buf_put(&none, b.data + at + 12 + 48, b.size - at - 12 - 48);
    CHECK_INT(try_bytes(none.data, none.size), LAFS_BAD_RECORD);
    with_chunk(&none, "IDAT", plte, "abcdefghi", 9, &more);
    CHECK_INT(try_bytes(more.data, more.size), LAFS_OK); /* the others are black, as viewers show them */
    lafs_buf_release(&none);
    lafs_buf_release(&b);
    lafs_buf_release(&more);
}

TEST(kinds_by_their_first_bytes)
{
#define KIND(bytes, what, picture) {bytes, what, sizeof bytes - 1, picture}
    static const struct {
        const char *bytes, *what;
        size_t n;
        int picture; /* known for certain */
    } other[] = {KIND("GIF89a", "a GIF picture", 1), KIND("RIFF\1\2\3\4WEBPVP8 ", "a WebP picture", 1),
                 KIND("II*\0", "a TIFF picture", 1), KIND("MM\0*", "a TIFF picture", 1),
                 KIND("II+\0", "a TIFF picture", 1), KIND("MM\0+", "a TIFF picture", 1),
                 KIND("\0\0\0\x18" "ftypheic", "a HEIC picture", 1), KIND("\0\0\0\x18" "ftypheix", "a HEIC picture", 1),
                 KIND("\0\0\0\x18" "ftypmif1", "a HEIC picture", 1), KIND("\0\0\0\x18" "ftypmsf1", "a HEIC picture", 1),
                 KIND("\0\0\0\x1c" "ftypavif", "an AVIF picture", 1), KIND("\0\0\0\x1c" "ftypmp42", "a film", 0),
                 KIND("\0\0\0\x18" "ftypcrx", "a raw picture of a camera", 1),
                 KIND("FUJIFILMCCD-RAW", "a raw picture of a camera", 1),
                 KIND("\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture", 1), KIND("\xff\x0a", "a JPEG XL picture", 1),
                 KIND("\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture", 1),
                 KIND("\xff\x4f\xff\x51", "a JPEG 2000 picture", 1), KIND("II\xbc", "a JPEG XR picture", 1),
                 KIND("BM", "a BMP picture", 0), KIND("8BPS", "a Photoshop file", 0),
                 KIND("\x76\x2f\x31\x01", "an OpenEXR picture", 1), KIND("\0\0\1\0", "an icon", 0),
                 KIND("P5\n", "a PGM picture", 1), KIND("P6\n", "a PPM picture", 1),
                 KIND("PK\3\4", "a zip archive", 0), KIND("%PDF-", "a PDF document", 0),
                 KIND("\xfd\x37zXZ\0", "an xz archive", 0), KIND("BZh", "a bzip2 archive", 0),
                 KIND("\177ELF", "a program", 0), KIND("\x93NUMPY", "a NumPy array", 0),
                 KIND("\x0a\x23\xd7\xce", "a RecordIO file", 0), KIND("\1\2\3\4\5\6\7\0{\"", "a safetensors file", 0)};
#undef KIND
    struct lafs_image im = {0};
    int w, h;
    char want[128];
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        CHECK_INT(lafs_photo_decode(&im, other[i].bytes, other[i].n, 0, &e), LAFS_BAD_RECORD);
        snprintf(want, sizeof want, "neither a JPEG nor a PNG photo but %s: convert it first", other[i].what);
        CHECK_STR(e.msg, want);
        CHECK_INT(lafs_photo_size(other[i].bytes, other[i].n, &w, &h, &e), LAFS_BAD_RECORD);
        CHECK_STR(e.msg, want);
        CHECK_INT(lafs_begins_as_picture(other[i].bytes, other[i].n), other[i].picture);
    }
    CHECK(lafs_begins_as_picture("\x89PNG", 4) && lafs_begins_as_picture("\xff\xd8\xff", 3));
    CHECK(!lafs_begins_as_picture("words", 5) && !lafs_begins_as_picture("P6", 2) && !lafs_looks_like("words", 5));
    CHECK_STR(lafs_looks_like("\xff\xd8\xff", 3), "a JPEG photo");
    CHECK_INT(lafs_photo_decode(&im, "", 0, 0, &e), LAFS_BAD_RECORD);
    CHECK_STR(e.msg, "the photo is empty");
    CHECK_INT(lafs_photo_check("words", 5, &e), LAFS_BAD_RECORD);
    CHECK_STR(e.msg, "neither a JPEG nor a PNG photo");
    CHECK_INT(lafs_png_decode(&im, "\xff\xd8\xff", 3, 0, &e), LAFS_BAD_RECORD);
    CHECK_STR(e.msg, "not a PNG");
    CHECK_INT(lafs_photo_kind("\x89PNG\r\n\x1a\n", 8), LAFS_PHOTO_PNG);
    CHECK_INT(lafs_photo_kind("\xff\xd8\xff\xe0", 4), LAFS_PHOTO_JPEG);
}

/* Another encoder and decoder: Pillow's own files, against its own conversion (which leaves alpha out: opaque ones). */
static const char pillow[] =
    "import sys, random\n"
    "from PIL import Image\n"
    "random.seed(5)\n"
    "base = Image.frombytes('RGB', (40, 30), bytes(random.randrange(256) for _ in range(3600)))\n"
    "for i, mode in enumerate(['RGB', 'L', 'P', '1', 'RGBA', 'LA']):\n"
    "    im = base.convert(mode)\n"
    "    im.save('%s/%d.png' % (sys.argv[1], i), optimize=i % 2 == 0)\n"
    "    open('%s/%d.rgb' % (sys.argv[1], i), 'wb').write(im.convert('RGB').tobytes())\n";

TEST(agrees_with_pillow)
{
    char dir[] = "/tmp/lafs-png.XXXXXX", path[64], command[sizeof pillow + 128];
    REQUIRE(mkdtemp(dir));
    snprintf(command, sizeof command, "/usr/bin/python3 -c \"%s\" %s 2>/dev/null", pillow, dir);
    int missing = system(command) != 0, seen = 0;
    for (int i = 0; i < 6; i++) {
        struct lafs_buf png, rgb;
        struct lafs_image im = {0};
        lafs_buf_init(&png);
        lafs_buf_init(&rgb);
        snprintf(path, sizeof path, "%s/%d.png", dir, i);
        lafs_status st = lafs_buf_read_file(&png, path, 1 << 20, &e);
        unlink(path);
        snprintf(path, sizeof path, "%s/%d.rgb", dir, i);
        if (st == LAFS_OK) st = lafs_buf_read_file(&rgb, path, 1 << 20, &e);
        unlink(path);
        if (st == LAFS_OK && (st = lafs_photo_decode(&im, png.data, png.size, 0, &e)) == LAFS_OK) {
            seen++;
            CHECK(im.w == 40 && im.h == 30 && rgb.size == 3600 && !memcmp(im.px, rgb.data, 3600));
        }
        if (!missing && st != LAFS_OK) FAIL_("%d: %s", i, e.msg);
        lafs_image_release(&im);
        lafs_buf_release(&png);
        lafs_buf_release(&rgb);
    }
    rmdir(dir);
    if (missing) SKIP("no Pillow in /usr/bin/python3");
    CHECK_INT(seen, 6);
}

TEST_MAIN(every_kind, exif_orientation, every_truncation_and_every_changed_byte_is_bad,
          claims_are_checked_before_decoding, odd_chunks, kinds_by_their_first_bytes, agrees_with_pillow)
