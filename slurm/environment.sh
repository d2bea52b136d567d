# shellcheck shell=bash
# Sourced by the batch scripts: what a run of halo_train wants to know of a cluster. Change it for yours.

# Which network interface NCCL's and Open MPI's bootstrap takes where a host has several, such as ib0 or eth0.
# export NCCL_SOCKET_IFNAME=ib0
# Which InfiniBand adapters carry the data; all of them when it is not set.
# export NCCL_IB_HCA=mlx5
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}
# Sums in the switch give other bits than sums in rings: halo_train pins what NCCL takes, and this goes with it.
export NCCL_NVLS_ENABLE=0

# Open MPI carries whole numbers and, without GPUs, everything. UCX finds InfiniBand by itself; on Ethernet name the interface.
# export UCX_NET_DEVICES=mlx5_0:1
# Plug-ins that look for networks that are not there only warn.
export OMPI_MCA_btl_base_warn_component_unused=0

# One thread pool a rank, of the cores that Slurm gives it: halo_train counts those.
unset OMP_NUM_THREADS
