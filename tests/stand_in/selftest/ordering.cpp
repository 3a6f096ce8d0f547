// What orders two streams, and what happens where nothing does.

#include "check.hpp"

#include <thread>

// Stream s puts 5 into a, late; t copies a to b.
struct Pair {
    Gpu gpu;
    CUstream s = stream(), t = stream();
    CUdeviceptr a = device_numbers(), b = device_numbers();

    Pair() { OK(stand_in_control("delay fill:50ms", nullptr, 0)); }
    CUresult write() { return cuMemsetD32Async(a, 5, 1, s); }
    CUresult copy() { return cuMemcpyDtoDAsync_v2(b, a, 4, t); }
};

CASE(one_stream_is_in_order) {
    Pair pair;
    pair.t = pair.s;
    OK(pair.write());
    OK(pair.copy());
    EQUAL(number_at(pair.b), 5u);
    EQUAL(traced("\"race\""), 0);
}

CASE(an_event_orders) {
    Pair pair;
    CUevent e = event();
    OK(pair.write());
    OK(cuEventRecord(e, pair.s));
    OK(cuStreamWaitEvent(pair.t, e, 0));
    OK(pair.copy());
    EQUAL(number_at(pair.b), 5u);
    EQUAL(traced("\"race\""), 0);
}

// The event was recorded before the write: waiting for it orders nothing.
CASE(an_event_orders_what_was_before_it) {
    Pair pair;
    CUevent e = event();
    OK(cuEventRecord(e, pair.s));
    OK(pair.write());
    OK(cuStreamWaitEvent(pair.t, e, 0));
    EQUAL(pair.copy(), CUDA_ERROR_LAUNCH_FAILED);
}

CASE(the_host_orders) {
    Pair pair;
    CUevent e = event();
    OK(pair.write());
    OK(cuEventRecord(e, pair.s));
    // Another thread waits, as a completer does.
    std::thread([&] {
        Gpu same;
        OK(cuEventSynchronize(e));
    }).join();
    OK(pair.copy());
    EQUAL(number_at(pair.b), 5u);
    EQUAL(traced("\"race\""), 0);
}

// The wait is missing, and the answer is wrong.
CASE(a_missing_wait_gives_a_wrong_answer, "STAND_IN_RACE=report") {
    Pair pair;
    OK(pair.write());
    OK(pair.copy());
    EQUAL(number_at(pair.b), 0xFFFFFFFFu);
    EQUAL(traced("\"record\":\"race\""), 1);
}

CASE(a_missing_wait_is_an_error) {
    Pair pair;
    OK(pair.write());
    EQUAL(pair.copy(), CUDA_ERROR_LAUNCH_FAILED);
    EQUAL(cuStreamSynchronize(pair.s), CUDA_ERROR_LAUNCH_FAILED);
    EQUAL(traced("\"first_kind\":\"fill\""), 1);
}

// However fast the first was: it had ended, and the host had not seen it.
CASE(a_race_is_found_without_an_overlap) {
    Pair pair;
    OK(stand_in_control("delay ", nullptr, 0));
    OK(pair.write());
    while (traced("\"kind\":\"fill\"") == 0) {
        std::this_thread::yield();
    }
    EQUAL(pair.copy(), CUDA_ERROR_LAUNCH_FAILED);
}

// Reading does not race with reading, nor with writing elsewhere.
CASE(two_readers_are_no_race) {
    Gpu gpu;
    CUstream s = stream(), t = stream();
    CUdeviceptr a = device_numbers(2), b = device_numbers(), c = device_numbers();
    OK(cuMemcpyDtoDAsync_v2(b, a, 4, s));
    OK(cuMemcpyDtoDAsync_v2(c, a, 4, t));
    OK(cuMemsetD32Async(a + 4, 0, 1, s));
    OK(cuCtxSynchronize());
    EQUAL(traced("\"race\""), 0);
}

// The reader comes first and the writer does not wait for it.
CASE(a_write_after_a_read_is_a_race) {
    Gpu gpu;
    CUstream s = stream(), t = stream();
    CUdeviceptr a = device_numbers(), b = device_numbers();
    OK(cuMemcpyDtoDAsync_v2(b, a, 4, s));
    EQUAL(cuMemsetD32Async(a, 0, 1, t), CUDA_ERROR_LAUNCH_FAILED);
}

// A picture is decoded into pinned memory that a copy still reads: seen as two copies that
// use it, one of them writing.
CASE(pinned_memory_races_too) {
    Gpu gpu;
    CUstream s = stream(), t = stream();
    CUdeviceptr a = device_numbers(), b = device_numbers();
    unsigned *pinned = pinned_numbers();
    OK(cuMemcpyHtoDAsync_v2(a, pinned, 4, s));
    EQUAL(cuMemcpyDtoHAsync_v2(pinned, b, 4, t), CUDA_ERROR_LAUNCH_FAILED);
}

CASE(the_null_stream_orders_blocking_streams) {
    Pair pair;
    pair.s = stream(0);
    pair.t = stream(0);
    CUdeviceptr c = device_numbers();
    OK(pair.write());
    OK(cuMemcpyDtoDAsync_v2(c, pair.a, 4, nullptr));
    pair.a = c;
    OK(pair.copy());
    EQUAL(number_at(pair.b), 5u);
    EQUAL(traced("\"race\""), 0);
}

CASE(the_null_stream_does_not_order_others) {
    Pair pair;
    OK(pair.write());
    EQUAL(cuMemcpyDtoDAsync_v2(pair.b, pair.a, 4, nullptr), CUDA_ERROR_LAUNCH_FAILED);
}

CASE(events_tell_how_far_a_stream_is) {
    Pair pair;
    CUevent from, to;
    OK(cuEventCreate(&from, 0));
    OK(cuEventCreate(&to, 0));
    OK(cuEventQuery(to)); // never recorded
    OK(cuEventRecord(from, pair.s));
    OK(pair.write());
    OK(cuEventRecord(to, pair.s));
    EQUAL(cuEventQuery(to), CUDA_ERROR_NOT_READY);
    OK(cuEventSynchronize(to));
    OK(cuEventQuery(to));
    float elapsed = 0;
    OK(cuEventElapsedTime_v2(&elapsed, from, to));
    CHECK(elapsed >= 50);
    EQUAL(cuEventElapsedTime_v2(&elapsed, from, event()), CUDA_ERROR_INVALID_HANDLE);
}

struct Seen {
    CUdeviceptr a;
    unsigned value;
    CUresult call;
};

CASE(host_functions_run_in_order) {
    Pair pair;
    Seen seen{pair.a, 0, CUDA_SUCCESS};
    OK(pair.write());
    OK(cuLaunchHostFunc(
        pair.s,
        [](void *argument) {
            auto *seen = static_cast<Seen *>(argument);
            seen->value = *reinterpret_cast<unsigned *>(seen->a);
            // CUDA may not be called from here.
            std::size_t free, total;
            seen->call = cuMemGetInfo_v2(&free, &total);
        },
        &seen));
    OK(cuStreamSynchronize(pair.s));
    EQUAL(seen.value, 5u);
    EQUAL(seen.call, CUDA_ERROR_NOT_PERMITTED);
}
