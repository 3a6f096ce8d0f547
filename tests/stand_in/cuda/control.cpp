#include "control.hpp"

#include "driver.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace stand_in {
namespace {

std::string answer_to(const std::string &line) {
    Driver &all = driver();
    Lock lock(all.mutex);
    try {
        return all.command(line);
    } catch (const std::invalid_argument &error) {
        return std::string("error ") + error.what() + "\n";
    }
}

bool send_all(int client, const std::string &text) {
    std::size_t sent = 0;
    while (sent < text.size()) {
        ssize_t count = send(client, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (count <= 0) {
            return false;
        }
        sent += static_cast<std::size_t>(count);
    }
    return true;
}

void converse(int client) {
    std::string received;
    char buffer[4096];
    for (;;) {
        ssize_t count = recv(client, buffer, sizeof buffer, 0);
        if (count <= 0) {
            break;
        }
        received.append(buffer, static_cast<std::size_t>(count));
        for (std::size_t end; (end = received.find('\n')) != std::string::npos;) {
            std::string line = received.substr(0, end);
            received.erase(0, end + 1);
            if (!send_all(client, answer_to(line) + ".\n")) {
                break;
            }
        }
    }
    close(client);
}

} // namespace

void listen_for_commands(const std::string &path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        throw std::invalid_argument("\"" + path + "\" is too long for a socket");
    }
    std::copy(path.begin(), path.end(), address.sun_path);
    int server = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server < 0 ||
        bind(server, reinterpret_cast<const sockaddr *>(&address), sizeof address) != 0 ||
        listen(server, 4) != 0) {
        throw std::invalid_argument("no socket at \"" + path + "\": " + std::strerror(errno));
    }
    std::thread([server] {
        for (;;) {
            int client = accept4(server, nullptr, nullptr, SOCK_CLOEXEC);
            if (client < 0) {
                return;
            }
            std::thread(converse, client).detach();
        }
    }).detach();
}

} // namespace stand_in

CUDA_API std::size_t stand_in_control(const char *command, char *answer, std::size_t capacity) {
    std::string text = stand_in::answer_to(command);
    if (capacity > 0) {
        std::size_t length = std::min(capacity - 1, text.size());
        std::copy_n(text.data(), length, answer);
        answer[length] = 0;
    }
    return text.size();
}
