# usage: awk -v recipes=FILE -v pairs=SHA256 -f cells.awk CELL.json...
# A line a cell, fields split by tabs: C, name, how it stands, accuracy, low, high, AUC, EER, TAR at FAR 1 %, loss and seconds
# of fine-tuning, the same of pretraining, commit, date, machine. How it stands: `use`; or why not: another `recipe` than the
# file has for it (lines `CELL<tab>RECIPE`), not of this `plan`, judged on other `pairs`, or with landmarks of another `cnn`
# than most cells that were to have the same one: of two, what is told apart may be they.
function number(key,   s) {
    if (!match($0, "\"" key "\": [-0-9.e+]+")) return ""
    s = substr($0, RSTART, RLENGTH); sub(/.*: /, "", s)
    return s
}
function string(key,   s) {
    if (!match($0, "\"" key "\": \"[^\"]*\"")) return ""
    s = substr($0, RSTART, RLENGTH - 1); sub(/^"[^"]*": "/, "", s); gsub(/\t/, " ", s)
    return s
}
# Which CNN a cell was to have: whose labels it has seen and, where those are the few only, how many.
function wanted_cnn(name,   part) {
    if (split(name, part, "-") < 4 || part[1] != "points") return ""
    sub(/\..*/, "", part[3])
    return part[3] (part[3] == "a" ? part[4] : "")
}
function finish() {
    if (cell == "") return
    stands[++cells] = judged != pairs ? "pairs" : !(cell in recipe) ? "plan" : has && said != recipe[cell] ? "recipe" : "use"
    name[cells] = cell; line[cells] = figures OFS tuned OFS pretrained OFS from
    which[cells] = wanted_cnn(cell); cnn[cells] = digest
    if (stands[cells] != "use" || which[cells] == "") return
    have = ++votes[which[cells], digest]
    if (have > most[which[cells]]) { most[which[cells]] = have; elected[which[cells]] = digest }
}
BEGIN {
    FS = OFS = "\t"
    while ((getline row < recipes) > 0) { split(row, part, "\t"); recipe[part[1]] = part[2] }
}
/^\{"cell"/ {
    finish()
    cell = string("cell"); from = string("commit") OFS string("date") OFS string("machine")
    has = 0; figures = tuned = pretrained = judged = digest = ""
    tuned = pretrained = OFS
}
/^ "recipe"/ { has = 1; said = string("recipe") }
/^ "cnn"/ { digest = string("cnn") }
/^ "finetune"/ { tuned = number("loss") OFS number("seconds") }
/^ "pretrain"/ { pretrained = number("loss") OFS number("seconds") }
/^ "protocol"/ {
    figures = number("accuracy") OFS number("accuracy_low") OFS number("accuracy_high") OFS number("auc") OFS number("eer") \
        OFS number("1e-2")
    judged = string("pairs_sha256")
}
END {
    finish()
    for (i = 1; i <= cells; i++) {
        if (stands[i] == "use" && which[i] != "" && cnn[i] != elected[which[i]]) stands[i] = "cnn"
        print "C", name[i], stands[i], line[i]
    }
}
