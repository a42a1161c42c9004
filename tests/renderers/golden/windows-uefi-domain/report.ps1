$url = 'http://boot.acme.example:8080/callback'
$name = 'ad-01'
$tenant = 'acme'
$ErrorActionPreference = 'SilentlyContinue'
$ProgressPreference = 'SilentlyContinue'
$system = Get-CimInstance Win32_OperatingSystem
$computer = Get-CimInstance Win32_ComputerSystem
$product = Get-CimInstance Win32_ComputerSystemProduct
$disks = @(Get-CimInstance Win32_DiskDrive | Select-Object -First 64 | ForEach-Object {
    @{ name = $_.DeviceID; bytes = $_.Size; model = $_.Model; serial = "$($_.SerialNumber)".Trim() }
})
$addresses = @(Get-NetIPAddress | Where-Object { $_.InterfaceAlias -notmatch 'Loopback' -and $_.PrefixOrigin -ne 'WellKnown' } |
    Select-Object -First 64 | ForEach-Object { "$($_.IPAddress)/$($_.PrefixLength)" })
$facts = @{
    kernel = $system.Version
    architecture = $env:PROCESSOR_ARCHITECTURE
    os = $system.Caption
    memoryKiB = [int64]$system.TotalVisibleMemorySize
    cpus = [int]$computer.NumberOfLogicalProcessors
    serial = (Get-CimInstance Win32_BIOS).SerialNumber
    uuid = $product.UUID
    disks = $disks
    addresses = $addresses
}
$keys = (Get-Content "$env:ProgramData\ssh\ssh_host_*_key.pub") -join "`n"
$form = @{ host = $name; tenant = $tenant; stage = 'installed'; facts = ($facts | ConvertTo-Json -Depth 4 -Compress); hostkeys = $keys }
foreach ($try in 1..5) {
    try {
        Invoke-WebRequest -UseBasicParsing -Method Post -Uri $url -Body $form -TimeoutSec 30 -ErrorAction Stop | Out-Null
        break
    } catch {
        Start-Sleep -Seconds 10
    }
}
Remove-Item -Force $PSCommandPath
exit 0
