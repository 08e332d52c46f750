#!/usr/bin/env bash
# How do the network that ships with crrn, classical methods and two published networks fare on the field's test sets?
#   experiments/results/run.sh BENCHMARKS
# BENCHMARKS holds SIR2, real20, nature20, real20_300 and peers/{ragnet,ibcln}, other tools' outputs. SIR2's estimates are
# made at the working size and scored at 224x288 (protocol crrn) and at the photos' own size (errnet).
set -euo pipefail
benchmarks=$1
python=${PYTHON:-python}
removers=${REMOVERS:-"crrn-small,yl19,lb14"}

"$python" -m src.eval name=results benchmark='[sir2,real20,nature20]' protocol='[crrn,errnet]' \
    data_root="$benchmarks" removers="[$removers]"
"$python" -m src.eval name=results-ibcln benchmark='[nature20]' protocol='[crrn,errnet]' data_root="$benchmarks" \
    "removers={IBCLN:folder:$benchmarks/peers/ibcln}"
"$python" -m src.eval name=results-ragnet benchmark='[folder]' benchmark.folder.root="$benchmarks/real20_300" \
    protocol='[crrn,errnet]' "removers={RAGNet:folder:$benchmarks/peers/ragnet,crrn-small:crrn-small}"
"$python" -m src.report name=results evaluations='[evaluations/results,evaluations/results-ibcln,evaluations/results-ragnet]' \
    'question="How do crrn'"'"'s network, classical methods and two published networks fare on the field'"'"'s test sets?"'
