# The whole line on real sets: photos -> faces -> index -> stage 1 -> pretraining without labels -> few-shot fine-tuning ->
# verification: on the settings pairs of one half of their people, at the threshold of the other half; or on the final
# pairs, at the threshold of the settings pairs. About 45 minutes on two cores.
#
#   make -f examples/real.mk DATA=../shared/data            # figures on the settings pairs
#   make -f examples/real.mk DATA=../shared/data FINAL=1    # on the final pairs: look once
#
# DATA holds lfw-devtrain.tar, utk-faces.tar and the pairs; WEIGHTS is a published YuNet. People are split by the FNV-1a-64
# of their names modulo 10: 0 final, 1 settings, the rest training.

# Numbers have points, whatever the language.
export LC_ALL := C
DATA ?= ../shared/data
WEIGHTS ?= $(DATA)/../weights/yunet_n_dynamic.onnx
OUT ?= real
BIN ?= bin
SHOTS ?= 4
TAG := $(if $(FINAL),final,settings)
ifdef FINAL
VERIFY := $(BIN)/lafs-verify -q --pairs $(DATA)/pairs-final.txt --fit $(DATA)/pairs-settings.txt
else
VERIFY := $(BIN)/lafs-verify -q --pairs $(OUT)/judge.txt --fit $(OUT)/fit.txt
endif
PART := $(OUT)/part/model.safetensors
SSL := $(OUT)/ssl/model.safetensors
FT := $(OUT)/ft/model.safetensors
PLAIN := $(OUT)/plain/model.safetensors
FEW := --preset few-finetune --seed 1

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: table
table: $(foreach m,pixel lbp part plain ft,$(OUT)/$(TAG)-$m.json)
	@sh examples/table.sh $(OUT) "pixel cosine" $(TAG)-pixel.json "local binary patterns" $(TAG)-lbp.json \
	    "stage 1" $(TAG)-part.json "fine-tuned without LAFS" $(TAG)-plain.json \
	    "fine-tuned after LAFS" $(TAG)-ft.json

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

# The people of pairs-settings.txt in two halves: a threshold is chosen on one and judged on the other.
$(OUT)/half-1.lafs $(OUT)/half-11.lafs: $(OUT)/half-%.lafs: $(OUT)/held.lafs
	$(BIN)/lafs-select -q --hash 20:$* -o $@ $<
$(OUT)/fit.txt: $(OUT)/half-1.lafs
$(OUT)/judge.txt: $(OUT)/half-11.lafs
$(OUT)/fit.txt $(OUT)/judge.txt: $(DATA)/pairs-settings.txt
	awk -F '\t' -f examples/pairs-of-half.awk $(filter %.lafs,$^) $< > $@

$(PART): $(OUT)/stage1.lafs
	$(BIN)/lafs-finetune $(FEW) --stage 1 --landmark-start grid --epochs 30 -o $(OUT)/part $<
$(SSL): $(OUT)/unlabelled.lafs $(PART)
	$(BIN)/lafs-pretrain --preset few-pretrain --seed 1 --landmarks $(PART) --init $(PART) -o $(OUT)/ssl $<
$(FT): $(OUT)/few.lafs $(SSL)
	$(BIN)/lafs-finetune $(FEW) --lr 0.0005 --epochs 15 --init $(SSL) -o $(OUT)/ft $<
# The same without the pretraining: what did it add?
$(PLAIN): $(OUT)/few.lafs $(PART)
	$(BIN)/lafs-finetune $(FEW) --lr 0.0005 --epochs 15 --init $(PART) -o $(OUT)/plain $<

JUDGE := $(OUT)/held.lafs $(if $(FINAL),,$(OUT)/fit.txt $(OUT)/judge.txt)
$(OUT)/$(TAG)-pixel.json $(OUT)/$(TAG)-lbp.json: $(OUT)/$(TAG)-%.json: $(JUDGE)
	$(BIN)/lafs-embed -q --baseline $* $< | $(VERIFY) --json > $@
$(foreach m,part ft plain,$(OUT)/$(TAG)-$m.json): $(OUT)/$(TAG)-%.json: $(JUDGE) $(OUT)/%/model.safetensors
	$(BIN)/lafs-embed -q -m $(OUT)/$*/model.safetensors $< | $(VERIFY) --json > $@
