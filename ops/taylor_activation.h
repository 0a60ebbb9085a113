#pragma once

#include "engine/autograd/context.h"

namespace ghost {

enum class TaylorFunction { kTanh, kIdentity };

/// Forward propagation of a function of d coordinates through a network, with what a Laplacian
/// needs: a tensor [2 + d, N, C] holds at N points the value of C channels, their d first
/// derivatives, and their Laplacian, the sum of the pure second derivatives. A linear map without
/// bias acts on all of them alike (`linear`).

/// The coordinates themselves: points [N, d] to [2 + d, N, d], on the CPU. Not differentiable.
Tensor taylor_coordinates(const Context& ctx, const Tensor& points);

/// A function behind a bias: with v = z_0 + bias, S = sum over i of z_i^2 and L = z_(d+1)
///
///   y_0 = f(v),   y_i = f'(v) z_i,   y_(d+1) = f''(v) S + f'(v) L
///
/// z       [2 + d, N, C]  f32 or f64, on the CPU
/// bias    [C] or undefined
/// returns y, shape and dtype of z
/// keeps   z (activation_input), bias
/// throws  ghost::Error when shapes do not fit
/// source  the chain rule; Li et al. 2024, arXiv:2307.08214 ("forward Laplacian")
Tensor taylor_activation(Context& ctx, const Tensor& z, const Tensor& bias,
                         TaylorFunction function);

}  // namespace ghost
