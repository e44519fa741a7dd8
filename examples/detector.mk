# Trains the refiner of points and the face detector, and measures them beside a published detector, on people and photos
# that were kept out of training. Hours on two cores; the figures alone take minutes.
#
#   make -f examples/detector.mk DATA=../shared/data            # figures on the settings people
#   make -f examples/detector.mk DATA=../shared/data FINAL=1    # on the final people: look once
#   make -f examples/detector.mk DATA=../shared/data REFINER=share/models/refiner.safetensors points
#
# The refiner in share/models was made so, in less time than it needs: 1,235 steps of 1,600 with --batch 16 --lr 0.003
# --average 0.995, then without mirroring 200 steps at --lr 0.001 and 800 of 1,100 at --lr 0.0015.
#
# DATA holds youtube-keypoints-train.{tar,csv} (frames with 68 points), lfw-devtrain.tar and group-photos.{tar,jsonl};
# WEIGHTS is a published YuNet, which labels the LFW photos and is the one to beat. People are split by the FNV-1a-64 of
# their names modulo 10: 0 final, 1 settings, the rest training; the group photos are for measuring only.

DATA ?= ../shared/data
WEIGHTS ?= $(DATA)/../weights/yunet_n_dynamic.onnx
OUT ?= detector
BIN ?= bin
REFINER_STEPS ?= 6000
DETECTOR_STEPS ?= 40000
HASH := $(if $(FINAL),0,1)
YUNET := $(OUT)/yunet.safetensors
REFINER ?= $(OUT)/refiner/model.safetensors
DETECTOR ?= $(OUT)/detector/model.safetensors
TERMS := --licence MIT

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all points recall lfw time
all: points recall lfw time

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
$(OUT)/frames-$(HASH).lafs: $(OUT)/frames.lafs
	$(BIN)/lafs-select --hash 10:$(HASH) -o $@ $<
$(OUT)/synth.lafs:
	@mkdir -p $(OUT)
	$(BIN)/lafs-synth -q -p 300 -n 1 --size 220 -o $(OUT)/synth-%06d.tar
# All faces of each photo, as the published detector sees them: those of 0.5 to 0.7 are in doubt.
$(OUT)/lfw.lafs: $(DATA)/lfw-devtrain.tar $(YUNET)
	$(BIN)/lafs-detect --no-refine --no-crop --min-score 0.5 -m $(YUNET) -o $(OUT)/lfw-%06d.tar $<

# -- training --

# Annotators place points to one side of where the mirror image would have them: no mirroring at the end.
$(OUT)/refiner-0/model.safetensors: $(OUT)/frames-train.lafs $(OUT)/synth.lafs
	$(BIN)/lafs-select -q -o $(OUT)/refiner.lafs $^
	$(BIN)/lafs-detect-train --steps $(REFINER_STEPS) $(TERMS) -o $(OUT)/refiner-0 $(OUT)/refiner.lafs
$(OUT)/refiner/model.safetensors: $(OUT)/refiner-0/model.safetensors
	$(BIN)/lafs-detect-train --no-mirror --init $(OUT)/refiner-0 --steps $(shell expr $(REFINER_STEPS) / 3) --lr 0.001 \
	    --warmup 50 --average 0.99 $(TERMS) --note \
	    "YouTube Faces frames with 68 points of people whose name hashes to 2..9, and 300 rendered faces" \
	    -o $(OUT)/refiner $(OUT)/refiner.lafs
$(OUT)/detector/model.safetensors: $(OUT)/lfw-train.lafs
	$(BIN)/lafs-detect-train --what detector --steps $(DETECTOR_STEPS) --batch 16 $(TERMS) --note \
	    "LFW photos of people whose name hashes to 2..9, labelled by YuNet-n (Apache-2.0)" -o $(OUT)/detector $<

# -- figures --

YUNET_PLAIN := -m $(YUNET) --no-refine
YUNET_TWICE := -m $(YUNET) --refiner $(REFINER)
OURS := -m $(DETECTOR) --refiner $(REFINER)
FIND := $(BIN)/lafs-detect -q --no-crop
POINTS := $(BIN)/lafs-show --json | sed 's/"key": "\([^"]*\)".*"points": \[\[\([^"]*\)\]\], .*/\1 \2/; s/[]\[{,]/ /g'
BOXES := $(BIN)/lafs-show --json | sed 's/.*"key": "\([^"]*\)-f[0-9]*".*"box": \[\([^]]*\)\].*"score": \([^,}]*\).*/\1 \2 \3/; s/,//g'
HAVE_DETECTOR := $(wildcard $(DETECTOR))

$(OUT)/true.txt: $(DATA)/youtube-keypoints-train.csv
	@mkdir -p $(OUT)
	tr -d '\r' < $< | tr ',' ' ' | sed 1d | awk 'function x(i) { return $$(2 + 2 * i) } function y(i) { return $$(3 + 2 * i) } \
	    { sub(/\.jpg$$/, "", $$1); print $$1, (x(36) + x(39)) / 2, (y(36) + y(39)) / 2, (x(42) + x(45)) / 2, \
	      (y(42) + y(45)) / 2, x(30), y(30), x(48), y(48), x(54), y(54) }' > $@
$(OUT)/yunet-%.txt: $(OUT)/frames-%.lafs $(YUNET)
	$(FIND) --best $(YUNET_PLAIN) $< | $(POINTS) > $@
$(OUT)/twice-%.txt: $(OUT)/frames-%.lafs $(YUNET) $(REFINER)
	$(FIND) --best $(YUNET_TWICE) $< | $(POINTS) > $@
$(OUT)/ours-%.txt: $(OUT)/frames-%.lafs $(DETECTOR) $(REFINER)
	$(FIND) --best $(OURS) $< | $(POINTS) > $@

points: $(OUT)/true.txt $(foreach d,yunet twice $(if $(HAVE_DETECTOR),ours),$(OUT)/$d-$(HASH).txt $(OUT)/$d-train.txt)
	@for d in yunet twice $(if $(HAVE_DETECTOR),ours); do \
	    printf '%-6s as it is:          ' $$d; examples/points.sh $(OUT)/true.txt $(OUT)/$$d-$(HASH).txt; \
	    printf '%-6s less mean offset:  ' $$d; examples/points.sh $(OUT)/true.txt $(OUT)/$$d-$(HASH).txt $(OUT)/$$d-train.txt; \
	done

# Group photos, whose boxes are known.
$(OUT)/groups.true: $(DATA)/group-photos.jsonl
	@mkdir -p $(OUT)
	sed 's/.*"file": "\([^"]*\)\.jpg", "boxes": \[\[/\1 /; s/\]\]}//; s/\], \[/ /g; s/,//g' $< | \
	    awk '{ for (i = 2; i < NF; i += 4) print $$1, $$i, $$(i + 1), $$(i + 2), $$(i + 3) }' > $@
recall: $(OUT)/groups.true $(YUNET)
	@for d in yunet $(if $(HAVE_DETECTOR),ours); do \
	    if [ $$d = yunet ]; then model="$(YUNET_PLAIN)"; else model="-m $(DETECTOR) --no-refine"; fi; \
	    $(FIND) $$model --min-score 0.1 $(DATA)/group-photos.tar | $(BOXES) > $(OUT)/groups-$$d.found; \
	    printf '%-6s group photos: ' $$d; examples/recall.sh $(OUT)/groups.true $(OUT)/groups-$$d.found; \
	done

$(OUT)/people-$(HASH).lafs: $(DATA)/lfw-devtrain.tar
	@mkdir -p $(OUT)
	$(BIN)/lafs-shard -q -o $(OUT)/people-%06d.tar $<
	$(BIN)/lafs-select --hash 10:$(HASH) -o $@ $(OUT)/people.lafs
lfw: $(OUT)/people-$(HASH).lafs $(YUNET)
	@for d in yunet $(if $(HAVE_DETECTOR),ours); do \
	    if [ $$d = yunet ]; then model="$(YUNET_PLAIN)"; else model="$(OURS)"; fi; \
	    printf '%-6s LFW photos: ' $$d; \
	    $(BIN)/lafs-detect --no-progress --best $$model -o $(OUT)/lfw-$$d.mp $< 2>&1 | tail -n 1; \
	done

time: $(YUNET)
	@for d in yunet twice $(if $(HAVE_DETECTOR),ours); do \
	    case $$d in yunet) model="$(YUNET_PLAIN)" ;; twice) model="$(YUNET_TWICE)" ;; ours) model="$(OURS)" ;; esac; \
	    from=$$(date +%s%N); $(FIND) -j 1 $$model -n 200 $(DATA)/lfw-devtrain.tar > $(OUT)/timed.mp; \
	    to=$$(date +%s%N); echo "$$d: $$(( (to - from) / 200000 )) us a photo of 250x250, one thread"; \
	done
