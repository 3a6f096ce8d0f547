@echo off
rem Builds the image and starts the service in a container, on port 8091:
rem
rem   start.bat           on the GPU where there is one, otherwise on the CPU
rem   start.bat --cpu     on the CPU
rem   start.bat --stop    ends it; what it downloaded stays in the volume "siglip2"
rem
rem MODEL_NAME, API_PORT, API_KEY and HF_TOKEN are taken from the environment.
setlocal
cd /d "%~dp0"
set "name=siglip2-embeddings"
set "kind="
if not defined API_PORT set "API_PORT=8091"

if "%~1"=="" goto begin
if "%~1"=="--cpu" (set "kind=cpu" & goto begin)
if "%~1"=="--stop" goto stop
echo start.bat: no option %~1; there are --cpu and --stop 1>&2
exit /b 2

:stop
rem Accepted requests are answered first (--drain-timeout).
docker stop --time 40 %name% >nul || exit /b 1
docker rm %name% >nul || exit /b 1
echo %name% has ended
exit /b 0

:begin
where docker >nul 2>nul
if errorlevel 1 (
  echo start.bat needs Docker; README.md says how to build and start the service without it 1>&2
  exit /b 1
)
if defined kind goto build
set "kind=cpu"
nvidia-smi >nul 2>nul
if not errorlevel 1 set "kind=gpu"

:build
if "%kind%"=="gpu" (
  docker build -t siglip2-embeddings:gpu . || exit /b 1
  set "device=--gpus all"
) else (
  docker build -f Dockerfile.cpu -t siglip2-embeddings:cpu . || exit /b 1
  set "device=--read-only"
)
docker rm --force %name% >nul 2>nul
docker run --detach --name %name% --restart unless-stopped %device% ^
  --cap-drop ALL --security-opt no-new-privileges -p "%API_PORT%:8091" -v siglip2:/data ^
  -e MODEL_NAME -e API_KEY -e HF_TOKEN -e TMPDIR=/data "siglip2-embeddings:%kind%" >nul || exit /b 1

echo starting; the first start downloads the model, and on a GPU builds its engine
:wait
set "state="
for /f "delims=" %%s in ('docker inspect --format "{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{end}}" %name%') do set "state=%%s"
if "%state%"=="running healthy" goto ready
if not "%state:~0,7%"=="running" (
  docker logs --tail 20 %name% 1>&2
  echo start.bat: %name% is %state% 1>&2
  exit /b 1
)
timeout /t 2 /nobreak >nul
goto wait

:ready
echo ready at http://localhost:%API_PORT% (%kind%)
exit /b 0
