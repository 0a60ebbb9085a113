#pragma once

#include "engine/device/cuda/reduce.cuh"
