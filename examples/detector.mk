# Trains the refiner of points and the face detector, and measures them beside a published detector, on people and photos
# that were kept out of training. The figures of the shipped ones take minutes, training hours on two cores.
#
#   make -f examples/detector.mk DATA=../shared/data            # all figures, on the settings people
#   make -f examples/detector.mk DATA=../shared/data FINAL=1    # on the final people: look once
#   make -f examples/detector.mk DATA=../shared/data train      # both networks, to OUT/refiner and OUT/detector; then
#   make -f examples/detector.mk DATA=../shared/data DETECTOR=detector/detector/model.safetensors \
#       REFINER=detector/refiner/model.safetensors              # their figures
#
# Targets: points, recall, lfw, time, quality, behaviour; all of them by default. The table of lafs-detect(1) is what
# `FINAL=1 behaviour` prints.
#
# Those in share/models were made in more stages, as time allowed. The refiner: 1,235 steps of 1,600 with --batch 16 --lr
# 0.003 --average 0.995, then without mirroring 200 steps at --lr 0.001, 800 of 1,100 at --lr 0.0015, 6,000 of --batch 24 at
# --lr 0.002, and 4,000 of those at --lr 0.0015 --seed 2. The detector, with --batch 16: 4,800 steps of 30,000, whose labels
# were still off by up to half a pixel, then 14,367 of 25,000 at --lr 0.002, then 7,500 at --lr 0.0009. Which refiner to ship
# was decided on the settings people; the final ones were looked at for three of them.
#
# DATA holds youtube-keypoints-train.{tar,csv} (frames with 68 points), lfw-devtrain.tar and group-photos.{tar,jsonl};
# WEIGHTS is a published YuNet, which labels the LFW photos and is the one to beat. People are split by the FNV-1a-64 of
# their names modulo 10: 0 final, 1 settings, the rest training; the group photos are for measuring only.

# Numbers have points, whatever the language.
export LC_ALL := C
DATA ?= ../shared/data
WEIGHTS ?= $(DATA)/../weights/yunet_n_dynamic.onnx
OUT ?= detector
BIN ?= bin
REFINER_STEPS ?= 6000
DETECTOR_STEPS ?= 40000
BATCH ?= 16
WARMUP ?= 200
CANVASES ?= 200
SYNTH ?= 300
HASH := $(if $(FINAL),0,1)
YUNET := $(OUT)/yunet.safetensors
REFINER ?= share/models/refiner.safetensors
DETECTOR ?= share/models/detector.safetensors
TERMS := --licence MIT

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all train points recall lfw time quality behaviour
all: points recall lfw time quality behaviour
train: $(OUT)/refiner/model.safetensors $(OUT)/detector/model.safetensors

# -- photos --

$(YUNET): $(WEIGHTS)
	@mkdir -p $(OUT)
	$(BIN)/lafs-convert -q -o $@ $<
$(OUT)/frames.jsonl: $(DATA)/youtube-keypoints-train.csv
	@mkdir -p $(OUT)
	tr -d '\r' < $< | awk -F, 'NR > 1 { sub(/\.jpg$$/, "", $$1); printf "{\"key\": \"%s\", \"points68\": [", $$1; \
	    for (i = 0; i < 68; i++) printf "%s[%s, %s]", i ? ", " : "", $$(2 + 2 * i), $$(3 + 2 * i); print "]}" }' > $@
$(OUT)/frames.lafs: $(DATA)/youtube-keypoints-train.tar $(OUT)/frames.jsonl
	$(BIN)/lafs-shard --add $(OUT)/frames.jsonl -o $(OUT)/frames-%06d.tar $<
$(OUT)/frames-train.lafs $(OUT)/lfw-train.lafs: $(OUT)/%-train.lafs: $(OUT)/%.lafs
	$(BIN)/lafs-select --not-hash 10:0,1 -o $@ $<
$(OUT)/frames-$(HASH).lafs $(OUT)/lfw-$(HASH).lafs: $(OUT)/%-$(HASH).lafs: $(OUT)/%.lafs
	$(BIN)/lafs-select --hash 10:$(HASH) -o $@ $<
$(OUT)/synth.lafs:
	@mkdir -p $(OUT)
	$(BIN)/lafs-synth -q -p $(SYNTH) -n 1 --size 220 -o $(OUT)/synth-%06d.tar
# All faces of each photo, as the published detector sees them: those of 0.5 to 0.7 are in doubt.
$(OUT)/lfw.lafs: $(DATA)/lfw-devtrain.tar $(YUNET)
	$(BIN)/lafs-detect --no-refine --no-crop --min-score 0.5 -m $(YUNET) -o $(OUT)/lfw-%06d.tar $<

# -- training --

# Annotators place points to one side of where the mirror image would have them: no mirroring at the end.
$(OUT)/refiner-0/model.safetensors: $(OUT)/frames-train.lafs $(OUT)/synth.lafs
	$(BIN)/lafs-select -q -o $(OUT)/refiner.lafs $^
	$(BIN)/lafs-detect-train --steps $(REFINER_STEPS) --warmup $(WARMUP) --batch $(BATCH) $(TERMS) -o $(OUT)/refiner-0 $(OUT)/refiner.lafs
$(OUT)/refiner/model.safetensors: $(OUT)/refiner-0/model.safetensors
	$(BIN)/lafs-detect-train --no-mirror --init $(OUT)/refiner-0 --steps $(shell expr $(REFINER_STEPS) / 3) --lr 0.001 \
	    --warmup $(shell expr $(WARMUP) / 4) --batch $(BATCH) --average 0.99 $(TERMS) --note \
	    "YouTube Faces frames with 68 points of people whose name hashes to 2..9, and 300 rendered faces" \
	    -o $(OUT)/refiner $(OUT)/refiner.lafs
$(OUT)/detector/model.safetensors: $(OUT)/lfw-train.lafs
	$(BIN)/lafs-detect-train --what detector --steps $(DETECTOR_STEPS) --warmup $(WARMUP) --batch $(BATCH) $(TERMS) --note \
	    "LFW photos of people whose name hashes to 2..9, labelled by YuNet-n (Apache-2.0)" -o $(OUT)/detector $<

# -- figures --

# Each detector as it is used: YuNet with its own points, YuNet with ours, and ours.
YUNET_PLAIN := -m $(YUNET) --no-refine
YUNET_TWICE := -m $(YUNET) --refiner $(REFINER)
OURS := -m $(DETECTOR) --refiner $(REFINER)
with = $(if $(filter yunet,$1),$(YUNET_PLAIN),$(if $(filter twice,$1),$(YUNET_TWICE),$(OURS)))
FIND := $(BIN)/lafs-detect -q --no-crop
POINTS := $(BIN)/lafs-show --json | sed 's/.*"key": "\([^"]*\)".*"points": \[\[\([^"]*\)\]\], .*/\1 \2/; s/[]\[{,]/ /g'
BOXES := $(BIN)/lafs-show --json | sed 's/.*"key": "\([^"]*\)-f[0-9]*".*"box": \[\([^]]*\)\].*"score": \([^,}]*\).*/\1 \2 \3/; s/,//g'

$(OUT)/true.txt: $(DATA)/youtube-keypoints-train.csv
	@mkdir -p $(OUT)
	tr -d '\r' < $< | tr ',' ' ' | sed 1d | awk 'function x(i) { return $$(2 + 2 * i) } function y(i) { return $$(3 + 2 * i) } \
	    { sub(/\.jpg$$/, "", $$1); print $$1, (x(36) + x(39)) / 2, (y(36) + y(39)) / 2, (x(42) + x(45)) / 2, \
	      (y(42) + y(45)) / 2, x(30), y(30), x(48), y(48), x(54), y(54) }' > $@
define found
$(OUT)/$1-%.mp: $(OUT)/frames-%.lafs $(YUNET) $(DETECTOR) $(REFINER)
	$(FIND) --best $(call with,$1) -o $$@ $$<
$(OUT)/$1-%.txt: $(OUT)/$1-%.mp
	cat $$< | $(POINTS) > $$@
endef
$(foreach d,yunet twice ours,$(eval $(call found,$d)))

points: $(OUT)/true.txt $(foreach d,yunet twice ours,$(OUT)/$d-$(HASH).txt $(OUT)/$d-train.txt)
	@for d in yunet twice ours; do \
	    printf '%-6s as it is:          ' $$d; examples/points.sh $(OUT)/true.txt $(OUT)/$$d-$(HASH).txt; \
	    printf '%-6s less mean offset:  ' $$d; examples/points.sh $(OUT)/true.txt $(OUT)/$$d-$(HASH).txt $(OUT)/$$d-train.txt; \
	done

# Group photos, whose boxes are known; and held-out photos composed into small and large ones, faces of 7 to 600 pixels.
$(OUT)/groups.lafs: $(DATA)/group-photos.tar
	@mkdir -p $(OUT)
	$(BIN)/lafs-shard -q -o $(OUT)/groups.tar $<
$(OUT)/groups.true: $(DATA)/group-photos.jsonl
	@mkdir -p $(OUT)
	sed 's/.*"file": "\([^"]*\)\.jpg", "boxes": \[\[/\1 /; s/\]\]}//; s/\], \[/ /g; s/,//g' $< | \
	    awk '{ for (i = 2; i < NF; i += 4) print $$1, $$i, $$(i + 1), $$(i + 2), $$(i + 3) }' > $@
$(OUT)/composed320.lafs $(OUT)/composed640.lafs: $(OUT)/composed%.lafs: $(OUT)/lfw-$(HASH).lafs
	$(BIN)/lafs-detect-train -q --canvases $(CANVASES) --canvas-side $* -o $(OUT)/composed$*.tar $<
$(OUT)/composed-dark.lafs $(OUT)/composed-mask.lafs: $(OUT)/composed-%.lafs: $(OUT)/lfw-$(HASH).lafs
	$(BIN)/lafs-detect-train -q --canvases $(CANVASES) --canvas-side 320 --canvas-with $* -o $(OUT)/composed-$*.tar $<
$(OUT)/composed%.true: $(OUT)/composed%.lafs
	$(BIN)/lafs-show --json $< | awk '{ n = split($$0, part, "{\"box\": \\["); match($$0, /"key": "[^"]*"/); \
	    key = substr($$0, RSTART + 8, RLENGTH - 9); for (i = 2; i <= n; i++) { box = score = part[i]; sub(/\].*/, "", box); \
	        gsub(/,/, "", box); sub(/.*"score": /, "", score); print key, box, (score + 0 < 0.7 ? "doubt" : "") } }' > $@
SETS := groups composed320 composed640 composed-dark composed-mask
recall: $(foreach s,$(SETS),$(OUT)/$s.lafs $(OUT)/$s.true) $(YUNET) $(DETECTOR)
	@for s in $(SETS); do for d in yunet ours; do \
	    if [ $$d = yunet ]; then model="$(YUNET_PLAIN)"; else model="-m $(DETECTOR) --no-refine"; fi; \
	    $(FIND) $$model --min-score 0.1 $(OUT)/$$s.lafs | $(BOXES) > $(OUT)/$$s-$$d.found; \
	    printf '%-6s %-14s ' $$d $$s:; sh examples/recall.sh $(OUT)/$$s.true $(OUT)/$$s-$$d.found; \
	done; done

# At the default score: a face in every photo.
$(OUT)/people.lafs: $(DATA)/lfw-devtrain.tar
	@mkdir -p $(OUT)
	$(BIN)/lafs-shard -q -o $(OUT)/people-%06d.tar $<
$(OUT)/people-$(HASH).lafs: $(OUT)/people.lafs
	$(BIN)/lafs-select -q --hash 10:$(HASH) -o $@ $<
lfw: $(OUT)/people-$(HASH).lafs $(YUNET) $(DETECTOR) $(REFINER)
	@for d in yunet ours; do \
	    if [ $$d = yunet ]; then model="$(YUNET_PLAIN)"; else model="$(OURS)"; fi; \
	    printf '%-6s ' $$d; $(BIN)/lafs-detect --no-progress --best $$model -o $(OUT)/best-$$d.tar $< 2>&1 | tail -n 1; \
	done

# Processor time of one thread for 200 photos, start and decoding included, by turns; the least of three.
time: $(OUT)/people-$(HASH).lafs $(YUNET) $(DETECTOR) $(REFINER)
	@for round in 1 2 3; do for d in yunet twice ours; do \
	    case $$d in yunet) model="$(YUNET_PLAIN)" ;; twice) model="$(YUNET_TWICE)" ;; ours) model="$(OURS)" ;; esac; \
	    for scales in auto 1; do \
	        echo "$$d $$scales" $$($(FIND) -j 1 --best $$model --scales $$scales -n 200 $< > $(OUT)/timed.mp; times > $(OUT)/timed.txt; tail -n 1 $(OUT)/timed.txt); \
	    done; done; done | sed 's/\([0-9]\)[ms]/\1 /g' | awk '{ t = 60 * ($$3 + $$5) + $$4 + $$6; k = $$1 " " $$2; if (!(k in at) || t < at[k]) at[k] = t } \
	    END { for (k in at) { split(k, p, " "); printf "%-6s %-5s %.1f ms a photo of 250x250\n", p[1], p[2] == 1 ? "1x" : p[2], at[k] * 5 } }' | sort

# What the quality of a face is worth: the points of frames, and who is who on LFW's pairs, with and without the lowest tenth.
limit = $$($(BIN)/lafs-show --json $1 | sed 's/.*"quality": \([0-9.e-]*\).*/\1/' | sort -g | awk '{ q[NR] = $$1 } END { print q[int(NR / 10) + 1] }')
PAIRS := $(DATA)/pairs-$(if $(FINAL),final,settings).txt
quality: $(OUT)/true.txt $(OUT)/ours-$(HASH).mp lfw
	@q=$(call limit,$(OUT)/ours-$(HASH).mp); cat $(OUT)/ours-$(HASH).mp | $(POINTS) > $(OUT)/all.txt; \
	$(BIN)/lafs-show --json $(OUT)/ours-$(HASH).mp | awk -v q=$$q '{ v = $$0; sub(/.*"quality": /, "", v); if (v + 0 >= q) print }' > $(OUT)/kept.json; \
	sed 's/.*"key": "\([^"]*\)".*"points": \[\[\([^"]*\)\]\], .*/\1 \2/; s/[]\[{,]/ /g' $(OUT)/kept.json > $(OUT)/kept.txt; \
	printf 'points, all frames:               '; sh examples/points.sh $(OUT)/true.txt $(OUT)/all.txt; \
	printf 'points, quality from %.4f on:   ' $$q; sh examples/points.sh $(OUT)/true.txt $(OUT)/kept.txt
	@q=$(call limit,$(OUT)/best-ours.lafs); $(BIN)/lafs-select -q --min-quality $$q -o $(OUT)/kept.lafs $(OUT)/best-ours.lafs; \
	for f in best-ours kept; do printf 'pairs, local binary patterns, %-9s ' $$f; \
	    $(BIN)/lafs-embed -q --baseline lbp $(OUT)/$$f.lafs | $(BIN)/lafs-verify -q --json --pairs $(PAIRS) > $(OUT)/pairs.json; \
	    sed 's/.*"without_missing"//' $(OUT)/pairs.json | tr ',{' '\n\n' | grep -E '"(pairs|accuracy)":' | tr -d '\n'; echo; done

# Photos that are hard in one way each: examples/behaviour.sh.
behaviour: $(OUT)/people-$(HASH).lafs $(OUT)/lfw-$(HASH).lafs $(YUNET) $(DETECTOR) $(REFINER)
	@BIN=$(BIN) sh examples/behaviour.sh $(OUT) $(HASH) "$(YUNET_PLAIN)" "$(OURS)"
