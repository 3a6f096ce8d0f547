// Runs one case of the self-test, or lists all of them with their settings, tabs between. A
// process each, because what the driver is told by its environment, and an error of the
// device, last as long as the process.

#include "check.hpp"

int main(int count, char **words) {
    if (count < 2) {
        for (const auto &[name, known] : cases()) {
            std::printf("%s", name.c_str());
            for (const std::string &setting : known.environment) {
                std::printf("\t%s", setting.c_str());
            }
            std::printf("\n");
        }
        return 0;
    }
    auto found = cases().find(words[1]);
    if (found == cases().end()) {
        std::fprintf(stderr, "there is no case %s\n", words[1]);
        return 2;
    }
    found->second.run();
    return 0;
}
