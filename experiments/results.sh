#!/usr/bin/env bash
# How do the network that ships, networks of 20 CPU minutes and classical methods fare on SIR2, Real20 and Nature20?
#   experiments/results.sh PHOTOS PAIRS BENCHMARKS [training|evaluation|report]
# BENCHMARKS holds SIR2, real20 and nature20. `crrn` is the network that experiments/real_photos.sh trains with pairs; NAFNet
# of 16 channels trains as long, on the same photos and pairs. NR17 and WS16 take seconds an image: wild scenes alone.
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
    "$python" -m src.eval name=results benchmark='[sir2,real20,nature20]' protocol='[crrn,errnet]' data_root="$benchmarks" \
        removers="{crrn-small:crrn-small,yl19:yl19,lb14:lb14,crrn:$crrn,nafnet:$nafnet}" strict=false
    "$python" -m src.eval name=table1 benchmark='[sir2]' 'benchmark.sir2.subsets=[wildscene]' protocol='[crrn]' \
        data_root="$benchmarks" removers="{lb14:lb14,nr17:nr17,ws16:ws16,yl19:yl19,crrn:$crrn,crrn-small:crrn-small}" strict=false
fi
if [[ $part == all || $part == report ]]; then
    "$python" -m src.report name=results evaluations='[evaluations/results,evaluations/table1]' runs="[$nafnet]" \
        pictures=3 quality=35 \
        'question="How do the network that ships, networks of 20 CPU minutes and classical methods fare?"'
fi
