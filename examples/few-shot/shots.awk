# usage: awk -f shots.awk FILE, lines `TOKENS-PRETRAINING-CNN SHOTS ACCURACY LOW HIGH`: accuracy over shots as SVG.
function X(k) { return 60 + log(k) / log(most > 1 ? most : 2) * 460 }
function Y(a) { return 300 - (a - lo) / (hi - lo) * 270 }
{
    if (!($1 in n)) arm[++arms] = $1
    i = ++n[$1]; k[$1, i] = $2; a[$1, i] = $3; l[$1, i] = $4; h[$1, i] = $5
    if ($2 > most) most = $2
    if (!seen[$2]++) shot[++shots] = $2
    if (lo == "" || $4 < lo) lo = $4
    if (hi == "" || $5 > hi) hi = $5
}
END {
    lo = int(lo * 20) / 20; hi = int(hi * 20 + 1) / 20
    colour["none"] = "#888888"; colour["dino"] = "#1f77b4"; colour["lafs"] = "#d62728"
    print "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"340\" viewBox=\"0 0 720 340\" " \
        "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222222\"><rect width=\"720\" height=\"340\" fill=\"#ffffff\"/>"
    for (v = lo; v <= hi + 1e-9; v += 0.05) {
        printf "<path stroke=\"#e4e4e4\" d=\"M50 %.1fH540\"/><text x=\"44\" y=\"%.1f\" text-anchor=\"end\">%.2f</text>\n", \
            Y(v), Y(v) + 4, v
    }
    for (i = 1; i <= shots; i++)
        printf "<text x=\"%.1f\" y=\"320\" text-anchor=\"middle\">%d</text>\n", X(shot[i]), shot[i]
    print "<text x=\"290\" y=\"336\" text-anchor=\"middle\">labelled photos a person</text>"
    for (m = 1; m <= arms; m++) {
        split(arm[m], part, "-")
        c = colour[part[2]]
        d = ""
        for (i = 1; i <= n[arm[m]]; i++) {
            x = X(k[arm[m], i]) + (m - 3.5) * 3
            d = d (i == 1 || k[arm[m], i] > 4 ? "M" : "L") sprintf("%.1f %.1f", x, Y(a[arm[m], i]))
            printf "<path stroke=\"%s\" stroke-opacity=\"0.4\" d=\"M%.1f %.1fV%.1f\"/>", c, x, Y(l[arm[m], i]), Y(h[arm[m], i])
            printf "<circle r=\"3.5\" fill=\"%s\" cx=\"%.1f\" cy=\"%.1f\"/>\n", c, x, Y(a[arm[m], i])
        }
        dash = part[1] == "grid" ? " stroke-dasharray=\"5 4\"" : ""
        printf "<path fill=\"none\" stroke=\"%s\" stroke-width=\"2\"%s d=\"%s\"/>\n", c, dash, d
        printf "<path stroke=\"%s\" stroke-width=\"2\"%s d=\"M556 %dh26\"/><text x=\"588\" y=\"%d\">%s, %s</text>\n", c, dash, \
            20 + 20 * m, 24 + 20 * m, part[2], part[1]
    }
    print "</svg>"
}
