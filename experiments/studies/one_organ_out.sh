#!/bin/bash
# One split of the study "SSM-SAM on sam-tiny: one organ left out at a time" in RESULTS.md: everything is
# trained on its source organs, then asked within volumes and across patients. Begun again, it goes on.
#
#   bash experiments/studies/one_organ_out.sh SHARDS WORK ORGAN SEED
#
# SHARDS of CHAOS T2-SPIR, ACDC, the left atria and Decathlon's hippocampus; ORGAN liver, spleen, left_kidney,
# right_kidney or heart; SEED 0, 1 or 2. One and a half to two and a half hours on one core.
#
# one_organ_out.csv has the cases that came of it: `python -m experiments.studies.one_organ_out` makes the tables
# of RESULTS.md of them again.
set -euo pipefail
case "${3:-} ${4:-}" in
  liver\ [012] | spleen\ [012] | left_kidney\ [012] | right_kidney\ [012] | heart\ [012]) ;;
  *) sed -n 's/^#   //p' "$0" >&2; exit 2 ;;
esac
shards=$1 work=$2 organ=$3 seed=$4
run=$work/$organ-$seed # runs lie beside each other and share what is compiled

if [ "$organ" = heart ]; then
  organs="left_ventricle right_ventricle myocardium left_atrium" validation=spleen
  case $seed in
    0) patients="acdc/patient001 acdc/patient002 acdc/patient007 la2018/06SR5RBREL16DQ6M8LWS la2018/0RZDK210BSMWAA6467LU" ;;
    1) patients="acdc/patient008 acdc/patient011 acdc/patient013 la2018/1D7CUD1955YZPGK8XHJX la2018/1GU15S0GJ6PFNARO469W" ;;
    2) patients="acdc/patient001 acdc/patient008 acdc/patient013 la2018/1MHBF3G6DCPWHSKG7XCP la2018/23X6SY44VT9KFHR7S7OC" ;;
  esac
else
  organs=$organ validation=left_atrium
  case $seed in
    0) patients="chaos_t2spir/chaos_01 chaos_t2spir/chaos_02 chaos_t2spir/chaos_03" ;;
    1) patients="chaos_t2spir/chaos_05 chaos_t2spir/chaos_08 chaos_t2spir/chaos_10" ;;
    2) patients="chaos_t2spir/chaos_13 chaos_t2spir/chaos_15 chaos_t2spir/chaos_19" ;;
  esac
fi

train() {
  python -m experiments.meta_train "$@" --data "$shards" --seed "$seed" \
         --test-organs $organs --val-organs $validation --test-patients $patients
}

ask() { # RUN FOLDER, where it is answered, and what to ask how
  [ -e "$1/$2/summary.json" ] || python -m experiments.meta_test --run "$1" --steps 0 10 20 30 40 "${@:3}"
}

train sam-tiny --workdir "$run-sam" --steps 600 --checkpoint-every 600
train ssm-sam-tiny --workdir "$run-ssm" --init-from "$run-sam"
train ssm-sam-tiny --workdir "$run-joint" --init-from "$run-sam" --method.steps 0 --tasks.shots 1 --tasks.queries 5 --steps 132 --checkpoint-every 44
train real --workdir "$run-maml"

for method in ssm joint maml; do
  baselines=default
  [ $method = joint ] && baselines=none # which are ssm's
  ask "$run-$method" within --protocol within-volume --neighbors 3 --baselines $baselines
  ask "$run-$method" report --shots 1 --support-sets 3 --baselines $baselines
done
