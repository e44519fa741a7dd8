#!/bin/sh
# Every program to which it applies: a missing file, a bad number, a cut tar or stream, a killed producer, a full disk, a
# photo of 20,000 x 20,000 pixels: each its message, which names the culprit, its exit status, and nothing left behind.
set -eu
. "$(dirname "$0")/lib.sh"

tiny="-q -j 2 --dim 64 --depth 1 --heads 1 --mlp 64 --patches 49 --patch 16 --batch 2 --epochs 1 --warmup 0"
m=ft/model.safetensors
lafs-synth -q --people 2 -n 2 --size 64 -o photos.tar
lafs-synth -q --people 2 -n 2 --aligned --seed 3 --pairs pairs.txt -o faces.tar
lafs-shard -q photos.tar -o photos.mp
lafs-shard -q faces.tar -o faces.mp
lafs-embed -q --baseline pixel -o emb faces.tar
# shellcheck disable=SC2086
lafs-finetune $tiny --stage 1 -o ft faces.lafs
lafs-augment -q --render --globals 2 --locals 1 faces.lafs | lafs-landmark -q -m $m | lafs-patch -q --patch 16 --subset 9 >patches
mkdir out

# each STATUS MESSAGE CMD...: CMD, given in words, fails so, and leaves nothing in out/
each() {
    status=$1 text=$2
    shift 2
    # shellcheck disable=SC2068
    expect_status "$status" $@ >stdout
    message "$text"
    left=$(ls -A out)
    [ -z "$left" ] || fail_ "$* left $left"
    rm -rf out
    mkdir out
}
# What reads records, of photos.mp or of faces.mp.
readers="shard_-o_out/x.tar shard_-o_out/x shard_--to-dir_out/x augment_-o_out/x landmark_-m_${m}_-o_out/x patch_--grid_-o_out/x
    embed_--baseline_pixel_-o_out/x embed_-m_${m}_-o_out/x show_--count_-o_out/x show_--json_-o_out/x show_--contact-sheet_-o_out/x
    show_--npy_landmarks_-o_out/x"
words() { echo "$1" | tr _ ' '; }

for r in $readers "verify_-p_pairs.txt_--plot_out/x" "detect_--align-only_-o_out/x" "select_-o_out/x.lafs" \
    "convert_-o_out/x.safetensors" "finetune_-o_run" "detect-train_-o_run" "pretrain_--landmarks_grid_-o_run"; do
    each 1 "cannot open 'nowhere': no such file or directory" "lafs-$(words "$r")" nowhere
done
each 1 "'nowhere'" lafs-landmark -m nowhere -o out/x faces.tar
each 1 "'nowhere'" lafs-embed -m nowhere -o out/x faces.tar
each 1 "'nowhere'" lafs-detect -m nowhere -o out/x photos.tar
each 1 "'nowhere'" lafs-shard --add nowhere -o out/x photos.tar
each 1 "'nowhere' holds no checkpoint" lafs-detect-train --init nowhere -o out/run photos.lafs
each 1 "'nowhere'" lafs-verify -p nowhere emb
each 1 "'nowhere'" lafs-shard --list nowhere -o out/x
each 1 "'nowhere'" lafs-select --people nowhere -o out/x.lafs faces.lafs
each 1 "'nowhere'" lafs-finetune --init nowhere -o run faces.lafs
each 1 "'nowhere'" lafs-pretrain --landmarks nowhere -o run faces.lafs
each 1 "nowhere/x" lafs-synth -o nowhere/x
each 2 "'nowhere'" lafs-synth --preset nowhere -o out/x
ok "missing files"

for r in shard_--take detect_--min-score augment_--globals landmark_--batch patch_--sigma embed_--jobs verify_--bootstrap \
    show_--columns pretrain_--lr finetune_--epochs select_--shots synth_--seed; do
    each 2 "option '${r#*_}': '12x' is not a" "lafs-$(words $r)" 12x -o out/x faces.tar
done
ok "bad numbers"

head -c $(($(wc -c <faces.tar) - 1024)) faces.tar >cut.tar
head -c $(($(wc -c <photos.tar) - 1024)) photos.tar >cut-photos.tar
head -c 20000 faces.mp >cut.mp
head -c 3000 photos.mp >cut-photos.mp
head -c 400000 emb >cut.emb
head -c 20000 $m >cut.safetensors
for r in $readers; do
    each 3 "'cut.tar' is cut off" "lafs-$(words "$r")" cut.tar
    each 3 "'cut.mp' is cut off" "lafs-$(words "$r")" cut.mp
done
each 3 "'cut-photos.tar' is cut off" lafs-detect --align-only -o out/x cut-photos.tar
each 3 "'cut-photos.mp' is cut off" lafs-detect --align-only -o out/x.tar cut-photos.mp
each 3 "'cut.emb' is cut off" lafs-verify -p pairs.txt --plot out/x cut.emb
each 3 "'cut.tar' is cut off" lafs-select -o out/x.lafs cut.tar
each 3 "'cut.tar' is cut off" lafs-finetune -o run cut.tar
each 3 "'cut.tar' is cut off" lafs-pretrain --landmarks grid -o run cut.tar
each 1 "'cut.safetensors'" lafs-convert -o out/x.safetensors cut.safetensors
each 1 "'cut.safetensors'" lafs-embed -m cut.safetensors -o out/x faces.tar
ok "cut tars, streams and models"

# The producer dies after half of its bytes.
killed() { # FILE CMD
    mkfifo pipe
    sh -c "head -c $(($(wc -c <"$1") / 2)) $1; kill -9 \$\$" >pipe 2>/dev/null & producer=$!
    shift
    each 3 "standard input is cut off" "$@" <pipe
    wait $producer 2>/dev/null || true
    rm pipe
}
for r in $readers; do killed faces.mp "lafs-$(words "$r")"; done
killed photos.mp "lafs-detect --align-only -o out/x"
killed emb "lafs-verify -p pairs.txt --plot out/x"
killed patches "lafs-pretrain $tiny --globals 2 --locals 1 --subset 9 --out-dim 32 --hidden 32 --bottleneck 16 -o run"
check test ! -e run/model.safetensors
ok "killed producers"

if [ -c /dev/full ]; then
    for r in shard_faces.mp detect_--align-only_photos.mp augment_faces.mp "landmark_-m_${m}_faces.mp" patch_--grid_faces.mp \
        embed_--baseline_pixel_faces.mp show_--count_faces.mp show_--json_faces.mp show_--contact-sheet_faces.mp show_$m \
        verify_-p_pairs.txt_emb synth convert_--list_$m show_--help "finetune_${tiny}_--dry-run_-o_run2_faces.lafs"; do
        # shellcheck disable=SC2046
        expect_status 1 "lafs-${r%%_*}" $(echo "${r#"${r%%_*}"}" | tr _ ' ') >/dev/full
        message "cannot write standard output: no space left on device"
        check test "$(grep -c 'no space left' stderr)" = 1
    done
    ok "/dev/full"
else
    skip "/dev/full" "there is none"
fi

# small BLOCKS CMD...: no file may grow beyond so many blocks
small() { (ulimit -f "$1" && shift && exec "$@"); }
for r in shard_-o_out/x.tar_faces.mp shard_-o_out/x_faces.mp shard_--to-dir_out/x_faces.mp detect_--align-only_-o_out/x.tar_photos.mp \
    augment_--render_-o_out/x_faces.mp landmark_-m_${m}_-o_out/x_faces.mp patch_--grid_-o_out/x_faces.mp \
    embed_--baseline_pixel_-o_out/x_faces.mp show_--contact-sheet_-o_out/x_faces.mp synth_--aligned_-o_out/x.tar synth_-o_out/x \
    convert_-o_out/x.safetensors_$m; do
    each 1 "file too large" small 6 "lafs-$(words "$r")"
    message "cannot write 'out/x"
done
for kind in finetune "pretrain --landmarks grid"; do
    rm -rf run
    # shellcheck disable=SC2086
    expect_status 1 small 6 lafs-$kind $tiny -o run faces.lafs
    message "cannot write 'run/checkpoint-2.safetensors': file too large"
    check test "$(cd run && echo $(ls -A))" = "config.json log.jsonl"
done
ok "full disks"

# Grey all over: each block is two bits, both 0.
bytes() { for b in "$@"; do printf "\\$(printf %03o "$b")"; done; }
{
    bytes 255 216 255 219 0 67 0
    head -c 64 /dev/zero | tr '\0' '\1'
    bytes 255 192 0 11 8 78 32 78 32 1 1 17 0
    for class in 0 16; do bytes 255 196 0 20 $class 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0; done
    bytes 255 218 0 8 1 1 0 0 63 0
    head -c 1562500 /dev/zero
    bytes 255 217
} >big.jpg
limited() { ([ -n "${SAN:-}" ] || ulimit -v 300000; exec "$@"); }
for r in detect_--align-only augment augment_--render patch_--grid embed_--baseline_pixel embed_--baseline_lbp show_--contact-sheet; do
    each 1 "skipping 'big': picture of 20000 x 20000 is more than 100000000 pixels" limited "lafs-$(words $r)" -o out/x big.jpg
    message "1 of 1 records were bad"
done
expect_status 0 limited lafs-shard -q -o x.tar big.jpg
expect_status 0 limited lafs-show --count x.tar >count
check test "$(cat count)" = 1
expect_status 1 limited lafs-select --not-near big.jpg -o out/x.lafs faces.lafs
message "20000 x 20000"
ok "a photo of 20,000 x 20,000 pixels"
