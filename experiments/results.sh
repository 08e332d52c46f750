#!/usr/bin/env bash
# How do the network that ships, networks trained on the same data for the same time, and classical methods fare on
# SIR2, Real20, Nature20 and CEILNet's synthetic images?
#   experiments/results.sh PHOTOS PAIRS BENCHMARKS [training|evaluation|report]
# BENCHMARKS holds SIR2, real20, nature20, ceilnet_synthetic, and for the rows of IBCLN and RAGNet their outputs:
# peers/ibcln, peers/ragnet and real20_300, Real20 at the size of the latter.
# The networks train for 20 minutes of one core each, on the same photos and pairs: CRRN and CEILNet (FY17) of width 0.25,
# NAFNet of 16 channels. NR17 and WS16 take seconds an image: protocol crrn alone, at 224x288.
set -euo pipefail
photos=$1 pairs=$2 benchmarks=$3 part=${4:-all}
python=${PYTHON:-python}
runs=runs/results

train() {
    OMP_NUM_THREADS=1 "$python" -m src.train experiment=photo run_root=$runs resume=auto logger=none \
        data.background="$photos" data.reflection="$photos" "data.sources.pairs=[$pairs]" init=null 'optimizer.freeze=[]' "$@"
}

evaluate() {
    "$python" -m src.eval strict=false data_root="$benchmarks" "$@"
}

if [[ $part == all || $part == training ]]; then
    train name=crrn net.encoder_width=null stages.joint.epochs=4 data.batches.samples_per_epoch=4800
    train name=ceilnet net=ceilnet loss=ceilnet stages=ceilnet stages.edges.epochs=1 stages.image.epochs=1 \
        stages.joint.epochs=2 data.batches.samples_per_epoch=4800
    train name=nafnet net=nafnet net.channels=16 loss.gradient=null stages.joint.epochs=4 data.batches.samples_per_epoch=3200
fi
if [[ $part == all || $part == evaluation ]]; then
    sets='benchmark=[sir2,real20,nature20,ceilnet_synthetic]'
    networks=$runs/crrn,$runs/ceilnet,$runs/nafnet,crrn-small
    evaluate name=crrn "$sets" protocol='[crrn]' removers="[lb14,yl19,nr17,ws16,$networks]"
    evaluate name=errnet "$sets" protocol='[errnet]' removers="[lb14,yl19,$networks]"
    evaluate name=ibcln benchmark='[nature20]' protocol='[errnet]' removers="{IBCLN:folder:$benchmarks/peers/ibcln,crrn-small:crrn-small}"
    evaluate name=ragnet benchmark='[folder]' benchmark.folder.root="$benchmarks/real20_300" benchmark.folder.name=real20_300 \
        protocol='[errnet]' removers="{RAGNet:folder:$benchmarks/peers/ragnet,crrn-small:crrn-small}"
fi
if [[ $part == all || $part == report ]]; then
    "$python" -m src.report name=results evaluations='[evaluations/crrn,evaluations/errnet,evaluations/ibcln,evaluations/ragnet]' \
        runs="[$runs/crrn,$runs/ceilnet,$runs/nafnet]" 'paper={crrn:CRRN,ceilnet:FY17}' pictures=1 quality=70 \
        'question="How do the network that ships, networks of 20 CPU minutes and classical methods fare?"'
fi
