#!/bin/bash
# One division of the study "MLB-Seg on real scans" in RESULTS.md: all rows on one organ, trained and tested.
# Begun again, it goes on.
#
#   bash experiments/studies/mlb_seg.sh SHARDS WORK ORGAN SEED [LABELLED]
#   bash experiments/studies/mlb_seg.sh SHARDS WORK ORGAN few-shot
#
# SHARDS of CHAOS T2-SPIR, ACDC, the left atria and Decathlon's hippocampus at 64 pixels; ORGAN left_atrium,
# liver, spleen or anterior; SEED 0, 1 or 2. With LABELLED, another number of labelled patients, only the rows of
# the curve are made. few-shot meta-trains on all other data sets what is then adapted to the labelled patients of
# every seed: of liver and spleen that is one run.
#
# mlb_seg.csv has the cases that came of it: `python -m experiments.studies.mlb_seg` makes the tables of
# RESULTS.md of them again, and collects them first where WORK is named.
set -euo pipefail
case "${3:-} ${4:-}" in
  left_atrium\ few-shot) held="left_atrium" validation=right_ventricle ;;
  liver\ few-shot | spleen\ few-shot) held="liver spleen left_kidney right_kidney" validation=right_ventricle ;;
  anterior\ few-shot) held="anterior posterior" validation=right_ventricle ;;
  left_atrium\ [012]) labelled=4 all=16 test=4 ;;
  liver\ [012] | spleen\ [012]) labelled=2 all=7 test=3 ;;
  anterior\ [012]) labelled=5 all=40 test=20 ;;
  *) sed -n 's/^#   //p' "$0" >&2; exit 2 ;;
esac
shards=$1 work=$2 organ=$3 seed=$4
if [ "$seed" = few-shot ]; then
  python -m experiments.meta_train real --data "$shards" --workdir "$work/few-shot-${organ/spleen/liver}" \
         --test-organs $held --val-organs $validation
  exit
fi
usual=$labelled
labelled=${5:-$labelled}
run=$work/$organ-$seed-$labelled # runs lie beside each other and share what is compiled
cases=$(dirname "$0")/mlb_seg.csv
first=500 steps=200              # of stage 1, and of bootstrapping

kept() { # ROW: are its cases in mlb_seg.csv?
  [ -e "$cases" ] && awk -F, -v row="$1" -v organ="$organ" -v seed="$seed" -v labelled="$labelled" '
    NR == 1 { for (n = 1; n <= NF; n++) at[$n] = n }
    NR > 1 && (row in at) && $at["organ"] == organ && $at["run"] == seed && $at["shots"] == labelled \
      && $at[row] != "" { found = 1 }
    END { exit !found }' "$cases"
}

learn() { # ROW, preset and options
  [ -e "$run-$1/supervised/summary.json" ] && return
  python -m experiments.meta_train "${@:2}" --data "$shards" --workdir "$run-$1" --organ "$organ" \
         --test-patients $test --seed "$seed"
  python -m experiments.meta_test --run "$run-$1"
}

alone() { # ROW, steps and options: of the labelled alone
  learn "$1" supervised --tasks.size 64 --method.stride 3 --steps "$2" --checkpoint-every "$2" "${@:3}"
}

begin() { # as near as looks show slices
  alone stage-1 $first --labelled "$labelled" --augment.zoom 0.417
}

bootstrap() { # ROW and options: equal steps, on as many images
  kept "$1" && return
  begin
  learn "$1" mlb-seg-small --labelled "$labelled" --init-from "$run-stage-1" --steps $steps \
        --checkpoint-every $steps "${@:2}"
}

together=$((first + steps))
kept stage-1 || begin
kept augmented || alone augmented $together --labelled "$labelled"
bootstrap mlb
[ "$labelled" = "$usual" ] || exit 0

unchanged="--augment.rotate 0 --augment.zoom 0 --augment.shift 0 --augment.gain 0 --augment.offset 0 --augment.noise 0"
kept plain || alone plain $together --labelled "$labelled" $unchanged
bootstrap uniform --method.weights uniform
bootstrap confidence --method.weights confidence
bootstrap pseudo --method.labels initial --method.weights uniform --method.no-consistency --method.no-teacher
bootstrap mean-teacher --method.labels none --method.no-consistency
kept all || alone all $together --labelled $all
case $organ in
  left_atrium) bootstrap no-ensemble --method.no-ensemble; bootstrap no-teacher --method.no-teacher ;;
  liver | spleen) bootstrap mlb-atlas --method.initial-labels atlas ;; # place and intensity know these well
esac
