# The whole line on real sets: photos -> faces -> index -> stage 1 -> pretraining without labels -> few-shot fine-tuning ->
# verification: 10-fold on the settings pairs, or on the final pairs at the threshold of the settings pairs.
#
#   make -f examples/real.mk DATA=../shared/data            # figures on the settings pairs
#   make -f examples/real.mk DATA=../shared/data FINAL=1    # on the final pairs: look once
#
# DATA holds lfw-devtrain.tar, utk-faces.tar and the pairs; WEIGHTS is a published YuNet. People are split by the FNV-1a-64
# of their names modulo 10: 0 final, 1 settings, the rest training.

DATA ?= ../shared/data
WEIGHTS ?= $(DATA)/../weights/yunet_n_dynamic.onnx
OUT ?= real
BIN ?= bin
SHOTS ?= 6
EPOCHS ?= 4
PAIRS := $(if $(FINAL),$(DATA)/pairs-final.txt,$(DATA)/pairs-settings.txt)
VERIFY := $(BIN)/lafs-verify -q --pairs $(PAIRS) $(if $(FINAL),--fit $(DATA)/pairs-settings.txt)
PART := $(OUT)/part/model.safetensors
SSL := $(OUT)/ssl/model.safetensors
FT := $(OUT)/ft/model.safetensors
TAG := $(if $(FINAL),final,settings)
TRAIN := --size xs --seed 1

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: table
table: $(foreach m,pixel lbp part ft,$(OUT)/$(TAG)-$m.json)
	@sh examples/table.sh $(OUT) "pixel cosine" $(TAG)-pixel.json "local binary patterns" $(TAG)-lbp.json \
	    "stage 1" $(TAG)-part.json "fine-tuned after LAFS" $(TAG)-ft.json

$(OUT)/yunet.safetensors: $(WEIGHTS)
	@mkdir -p $(OUT)
	$(BIN)/lafs-convert -q -o $@ $<
$(OUT)/lfw.lafs: $(DATA)/lfw-devtrain.tar $(OUT)/yunet.safetensors
	$(BIN)/lafs-detect --best -m $(OUT)/yunet.safetensors -o $(OUT)/lfw-%06d.tar $<
$(OUT)/utk.lafs: $(DATA)/utk-faces.tar $(OUT)/yunet.safetensors
	$(BIN)/lafs-detect --best -m $(OUT)/yunet.safetensors -o $(OUT)/utk-%06d.tar $<
$(OUT)/synth.lafs:
	@mkdir -p $(OUT)
	$(BIN)/lafs-synth -q --people 600 -n 5 --aligned -o $(OUT)/synth-%06d.tar

# People of the tests, of training, and the few labels.
$(OUT)/held.lafs: $(OUT)/lfw.lafs
	$(BIN)/lafs-select --hash 10:0,1 -o $@ $<
$(OUT)/train.lafs: $(OUT)/lfw.lafs
	$(BIN)/lafs-select --not-hash 10:0,1 -o $@ $<
$(OUT)/few.lafs: $(OUT)/train.lafs
	$(BIN)/lafs-select --min-images 2 --shots $(SHOTS) -o $@ $<
$(OUT)/stage1.lafs: $(OUT)/few.lafs $(OUT)/synth.lafs
	$(BIN)/lafs-select -o $@ $^
$(OUT)/far.lafs: $(OUT)/utk.lafs $(OUT)/held.lafs
	$(BIN)/lafs-select --not-near $(OUT)/held.lafs -o $@ $<
$(OUT)/unlabelled.lafs: $(OUT)/train.lafs $(OUT)/far.lafs
	$(BIN)/lafs-select -o $@ $^

$(PART): $(OUT)/stage1.lafs
	$(BIN)/lafs-finetune $(TRAIN) --stage 1 --preset examples/presets/demo-finetune --batch 64 --micro 64 -o $(OUT)/part $<
$(SSL): $(OUT)/unlabelled.lafs $(PART)
	$(BIN)/lafs-pretrain $(TRAIN) --preset examples/presets/demo-pretrain --epochs $(EPOCHS) --out-dim 4096 --hidden 512 \
	    --bottleneck 128 --batch 64 --landmarks $(PART) -o $(OUT)/ssl $<
$(FT): $(OUT)/few.lafs $(SSL)
	$(BIN)/lafs-finetune $(TRAIN) --preset examples/presets/demo-finetune --batch 64 --micro 64 --init $(SSL) -o $(OUT)/ft $<

$(OUT)/$(TAG)-pixel.json $(OUT)/$(TAG)-lbp.json: $(OUT)/$(TAG)-%.json: $(OUT)/held.lafs
	$(BIN)/lafs-embed -q --baseline $* $< | $(VERIFY) --json > $@
$(OUT)/$(TAG)-part.json: $(OUT)/held.lafs $(PART)
	$(BIN)/lafs-embed -q -m $(PART) $< | $(VERIFY) --json > $@
$(OUT)/$(TAG)-ft.json: $(OUT)/held.lafs $(FT)
	$(BIN)/lafs-embed -q -m $(FT) $< | $(VERIFY) --json > $@
