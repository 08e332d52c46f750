#!/usr/bin/env bash
# How do the network that ships, networks of 20 CPU minutes, classical methods and published networks fare on photos?
#   experiments/results.sh PHOTOS PAIRS BENCHMARKS [training|evaluation|report]
# BENCHMARKS holds SIR2, real20, nature20, ceilnet_synthetic, and published outputs: peers/ragnet (of real20_300), peers/ibcln.
# `crrn` is the network that experiments/real_photos.sh trains with pairs; NAFNet of 16 channels trains as long, on the same
# photos and pairs. NR17 and WS16 take seconds an image: of SIR2 the wild scenes alone.
set -euo pipefail
photos=$1 pairs=$2 benchmarks=$3 part=${4:-all}
python=${PYTHON:-python}
crrn=runs/real_photos/pairs nafnet=runs/results/nafnet

if [[ $part == all || $part == training ]]; then
    OMP_NUM_THREADS=1 "$python" -m src.train experiment=photo name=nafnet run_root=runs/results resume=auto logger=none \
        data.background="$photos" data.reflection="$photos" "data.sources.pairs=[$pairs]" \
        net=nafnet net.channels=16 loss.gradient=null init=null 'optimizer.freeze=[]' \
        stages.joint.epochs=4 data.batches.samples_per_epoch=3200
fi
if [[ $part == all || $part == evaluation ]]; then
    eval_() { "$python" -m src.eval data_root="$benchmarks" strict=false "$@"; }
    networks="crrn-small:crrn-small,yl19:yl19,lb14:lb14,crrn:$crrn,nafnet:$nafnet"
    eval_ name=results benchmark='[sir2,real20,nature20,ceilnet_synthetic]' protocol='[crrn,errnet]' removers="{$networks}"
    eval_ name=slow_methods benchmark='[real20,nature20,ceilnet_synthetic]' protocol='[crrn]' removers='[nr17,ws16]' cases=0
    eval_ name=table1 benchmark='[sir2]' 'benchmark.sir2.subsets=[wildscene]' protocol='[crrn]' \
        removers="{lb14:lb14,nr17:nr17,ws16:ws16,yl19:yl19,crrn:$crrn,crrn-small:crrn-small}"
    eval_ name=ragnet benchmark='[folder]' benchmark.folder.root="$benchmarks/real20_300" benchmark.folder.name=real20_300 \
        protocol='[errnet,crrn]' removers="{RAGNet:'folder:$benchmarks/peers/ragnet',$networks}" cases=0
    eval_ name=ibcln benchmark='[nature20]' protocol='[errnet,crrn]' cases=0 \
        removers="{IBCLN:'folder:$benchmarks/peers/ibcln',crrn-small:crrn-small}"
fi
if [[ $part == all || $part == report ]]; then
    "$python" -m src.report name=results \
        evaluations='[evaluations/results,evaluations/slow_methods,evaluations/table1,evaluations/ragnet,evaluations/ibcln]' \
        runs="[$nafnet]" pictures=3 quality=35 \
        'question="How do the network that ships, networks of 20 CPU minutes, classical methods and published networks fare?"'
fi
