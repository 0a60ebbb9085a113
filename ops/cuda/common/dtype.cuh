#pragma once

#include "engine/device/cuda/dtype.cuh"
